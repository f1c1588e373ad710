"""`redpajama verify`: is everything still as the records say?"""

from shlex import quote

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root


def command(root: RootArgument, name: BuildOption = "", as_json: JsonOption = False) -> int:
    """Hash everything again, add every sum again; status 1 names what differs."""
    from redpajama.report.builds import find_builds
    from redpajama.report.verify import verify

    store = open_root(root)
    findings = verify(store, find_builds(store, name))
    if as_json:
        screen.show_json(vars(findings))
        return 1 if findings.problems else 0
    out = screen.console()
    screen.say(out, findings.problems, "red")
    if findings.strangers:
        hint = f"`redpajama gc {quote(root)}` lists them"
        screen.say(out, [f"{len(findings.strangers):,} file(s) that no build names ({hint})"], "dim")
    verdict = f"{len(findings.problems):,} problem(s)" if findings.problems else "everything is as the records say"
    out.print(f"{findings.files:,} files, {findings.bytes / 1e6:,.2f} MB: {verdict}")
    return 1 if findings.problems else 0
