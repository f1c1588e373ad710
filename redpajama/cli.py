"""The command line: the only module that acts. Heavy imports wait until a command needs them."""

import sys
from typing import Annotated, Any

import typer
import typer.exceptions

from redpajama.artifacts import BuildFailed, Store, UserError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Raw dumps in, training shards out. A manifest says what; the command line says where.",
)

ManifestArgument = Annotated[str, typer.Argument(metavar="MANIFEST", help="the manifest, a TOML file")]
RootArgument = Annotated[str, typer.Argument(metavar="ROOT", help="where the build lies")]
OutOption = Annotated[str, typer.Option("--out", metavar="ROOT", help="where outputs go: a folder, s3:// or gs://")]
MirrorOption = Annotated[
    list[str] | None, typer.Option("--mirror", metavar="PREFIX=DIR", help="read URLs that start so from DIR instead")
]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]
BuildOption = Annotated[str, typer.Option("--build", metavar="NAME", help="which build, where ROOT has several")]


def main() -> None:
    """Run a command; a mistake is one line and status 2, a broken promise one line and status 1."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a terminal may know fewer characters than a corpus
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of one command line."""
    try:
        return app(args=arguments or ["--help"], standalone_mode=False, prog_name="redpajama") or 0
    except typer.exceptions.TyperException as error:
        return _complain(f"{error.format_message()} (--help says what there is)", 2)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except UserError as error:
        return _complain(str(error), 2)
    except (BuildFailed, OSError) as error:
        return _complain(str(error), 1)


def _complain(message: str, status: int) -> int:
    typer.echo(f"redpajama: {' '.join(message.split())}", err=True)
    return status


def _load(manifest_path: str) -> Any:
    """The manifest, with everything that can be wrong in it checked."""
    from redpajama import build, manifest

    model = manifest.load(manifest_path)
    build.check(model, manifest_path)
    return build.complete(model)


def _mirrors(mirror: list[str] | None) -> dict[str, str]:
    for pair in mirror or []:
        if not all(pair.partition("=")):
            raise UserError(f"--mirror {pair}: write PREFIX=DIR, for example https://data.commoncrawl.org/=/mnt/cc/")
    return dict(pair.split("=", 1) for pair in mirror or [])


@app.command()
def plan(manifest: ManifestArgument, out: OutOption, mirror: MirrorOption = None, as_json: JsonOption = False) -> int:
    """What would run, with sizes, and all errors; nothing is written."""
    from redpajama import build, screen

    model, lost = _load(manifest), []
    listed = build.list_inputs(model, manifest, _mirrors(mirror), lost)
    return screen.show_plan(model, listed, lost, Store(out), as_json)


@app.command()
def doctor(manifest: ManifestArgument, mirror: MirrorOption = None, as_json: JsonOption = False) -> int:
    """Ask each host whether its inputs are still there; status 1 if one is dead."""
    from redpajama import doctor, screen

    return screen.show_doctor(doctor.examine(_load(manifest), manifest, _mirrors(mirror)), as_json)


@app.command()
def build(
    manifest: ManifestArgument,
    out: OutOption,
    beam_options: Annotated[list[str] | None, typer.Argument(metavar="[-- BEAM OPTIONS]")] = None,
    until: Annotated[str, typer.Option(help="stop after: documents, dedup, mixture or tokens")] = "tokens",
    workers: Annotated[str, typer.Option(metavar="N", help="worker processes, or auto")] = "auto",
    mirror: MirrorOption = None,
    regroup: Annotated[str, typer.Option(help="regroup through: files, or beam (GroupByKey)")] = "files",
    rehash: Annotated[bool, typer.Option("--rehash", help="measure every input's SHA-256 again")] = False,
    as_json: JsonOption = False,
) -> int:
    """Do it, or go on where an earlier build was stopped."""
    from redpajama import build, drive

    _one_of("--until", until, ("documents", "dedup", "mixture", "tokens"))
    _one_of("--regroup", regroup, ("files", "beam"))
    if workers != "auto" and not (workers.isdecimal() and int(workers) > 0):
        raise UserError(f"--workers {workers}: give a number of processes, or auto")
    model = _load(manifest)
    listed = build.list_inputs(model, manifest, _mirrors(mirror))
    wish = drive.Wish(out, until, workers, list(beam_options or []), regroup == "beam", rehash, as_json)
    return drive.drive(model, listed, wish)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{option} {value}: one of {', '.join(known)}")


@app.command()
def status(root: RootArgument, name: BuildOption = "", as_json: JsonOption = False) -> int:
    """Stages, parts and counts of the builds in ROOT."""
    from redpajama import screen

    return screen.show_status(_store(root), name, as_json)


@app.command()
def verify(root: RootArgument, name: BuildOption = "", as_json: JsonOption = False) -> int:
    """Hash everything again, add every sum again; status 1 names what differs."""
    from redpajama import screen

    return screen.show_verify(_store(root), name, as_json)


@app.command()
def why(
    root: RootArgument,
    what: Annotated[str, typer.Argument(metavar="ID|URL|TEXT", help="a document's id, its URL, or its text")],
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Where a document came from, each signal and threshold, why it is gone or where it is in the shards."""
    from redpajama import screen

    return screen.show_why(_store(root), what, name, as_json)


@app.command()
def clusters(
    root: RootArgument,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="how many")] = 20,
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """The largest clusters of near-duplicates: survivor, sources, what went, how like they were, how they begin."""
    from redpajama import screen

    return screen.show_clusters(_store(root), top, name, as_json)


@app.command()
def explore(
    root: RootArgument,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="where the page goes")] = "explore.html",
    name: BuildOption = "",
) -> int:
    """Write one HTML page: each signal's histogram, what a threshold keeps, and the documents next to it."""
    from redpajama import screen

    return screen.write_explorer(_store(root), name, to)


@app.command()
def signals(as_json: JsonOption = False) -> int:
    """Every signal that a rule can be about, and the presets that have one."""
    from redpajama import screen

    return screen.show_signals(as_json)


@app.command()
def gc(root: RootArgument, yes: Annotated[bool, typer.Option("--yes", help="remove them")] = False) -> int:
    """List what no build names; with --yes remove it."""
    from redpajama import screen

    return screen.collect_garbage(_store(root), yes)


def _store(root: str) -> Any:
    store = Store(root)
    if not store.exists("builds"):
        raise UserError(f"{root}: no finished build is here")
    return store
