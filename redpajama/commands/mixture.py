"""`redpajama mixture`: what came out of a mixture, and what mixture search starts from."""

import csv
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root
from redpajama.errors import UserError

if TYPE_CHECKING:
    from redpajama.commands.table import Table


def command(
    root: RootArgument,
    priors: Annotated[bool, typer.Option("--priors", help="sizes of all domains, for mixture search")] = False,
    form: Annotated[Literal["json", "csv"], typer.Option("--format", help="of the priors")] = "json",
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Wanted and got of each slice, epochs, copies of a text, lengths, and how even the stream is."""
    from redpajama.mixers import account
    from redpajama.report.builds import open_build, read_build

    store = open_root(root)
    record = read_build(store, name)
    if "mixture" not in record["stages"]:
        raise UserError(f"{root}: this build has no mixture: it ended with '{record['until']}'")
    build = open_build(store, record)
    if priors:
        _write_priors(account.priors(build), form)
    elif as_json:
        screen.show_json(account.account(build))
    else:
        _print(account.account(build))
    return 0


def _write_priors(found: dict[str, Any], form: str) -> None:
    if form == "json":
        screen.show_json(found)
        return
    columns = ["domain", "source", "tokens", "share", "max_epochs", "weight"]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"domain": name, **row} for name, row in found["domains"].items())


def _print(found: dict[str, Any]) -> None:
    out = screen.console()
    out.print(_slices(found["slices"]))
    out.print(_lengths(found["sources"]))
    screen.say(out, lines(found))


def _slices(slices: dict[str, dict[str, Any]]) -> "Table":
    table = screen.table("slice", "wanted", "got", "target", "tokens", "unique", "epochs", "effective")
    for name, row in slices.items():
        shares = (f"{row['wanted_share']:.2%}", f"{row['got_share']:.2%}")
        tokens = (f"{row[key]:,}" for key in ("target_tokens", "tokens", "unique_tokens"))
        table.add_row(name, *shares, *tokens, f"{row['epochs']:.3f}", f"{row['effective_tokens']:,}")
    return table


def _lengths(sources: dict[str, dict[str, Any]]) -> "Table":
    """Documents by length; a column holds so many tokens, or up to four times as many."""
    bounds = [1 << power for power in range(4, 21, 2)]
    table = screen.table("source", "documents", "copies", "<16", *(_short(bound) for bound in bounds))
    for name, row in sources.items():
        columns = dict.fromkeys([0, *bounds], 0)
        for size, number in row["lengths"].items():
            columns[max(bound for bound in columns if bound <= int(size))] += number
        cells = (f"{number:,}" if number else "·" for number in columns.values())
        table.add_row(name, f"{row['documents']:,}", f"{row['copies']:,}", *cells)
    return table


def _short(bound: int) -> str:
    return f"{bound >> 20}Mi" if bound >= 1 << 20 else f"{bound >> 10}Ki" if bound >= 1 << 10 else str(bound)


def lines(found: dict[str, Any]) -> list[str]:
    """What the tables do not say."""
    from redpajama.mixers import account

    copies = ", ".join(f"{times}x {number:,}" for times, number in found["copies"].items())
    near = "near copies counted as one" if found["near_copies_counted"] else "exact copies only: there is no near-dedup"
    said = [f"texts by how often they stand in the stream ({near}): {copies}"]
    for stream, even in found["streams"].items():
        worst = max(even["sources"].items(), key=lambda item: _sigmas(item[1]), default=None)
        name = f" {stream}" if stream else ""
        if worst:
            source, row = worst
            said.append(
                f"stream{name}: shares in {even['windows']} windows; the least even is {source}: {row['share']:.2%} ± "
                f"{row['deviation']:.2%}, by chance ± {row['expected_deviation']:.2%}"
            )
    if found["held_out_tokens"]:
        said.append(f"held out for validation: {found['held_out_tokens']:,} tokens")
    return said + account.overshoot_lines(found["overshoot"])


def _sigmas(row: dict[str, float]) -> float:
    return row["deviation"] / row["expected_deviation"] if row["expected_deviation"] else 0.0
