"""`redpajama export`: the same tokens, or texts, for another trainer."""

import os
import time
from typing import Annotated, Any

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import BuildOption, JsonOption, RootArgument, open_root
from redpajama.commands.terminal import say
from redpajama.errors import UserError


def command(
    root: RootArgument,
    format: Annotated[str, typer.Option("--format", metavar="F", help="a name; without one they are listed")] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="DIR", help="an empty folder, or one that holds its beginning")
    ] = "",
    packing: Annotated[str, typer.Option(help="of rows: none, concatenate or best-fit")] = "",
    length: Annotated[int, typer.Option(metavar="TOKENS", min=2, max=1 << 24, help="of a packed row")] = 2048,
    shard_tokens: Annotated[int, typer.Option(metavar="N", min=0, help="megatron: of each new shard, at most")] = 0,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="files written at once; 0: a core each")] = 0,
    split: Annotated[str, typer.Option(help="train, or validation: what is held out")] = "train",
    push: Annotated[
        str, typer.Option(metavar="USER/REPO", help="upload it to the Hugging Face hub as a data set")
    ] = "",
    name: BuildOption = "",
    as_json: JsonOption = False,
) -> int:
    """Write a build's tokens or texts in another format, without encoding again; the same command goes on."""
    from redpajama.exports import blends
    from redpajama.exports.run import planned, run
    from redpajama.formats import STORE
    from redpajama.report.builds import read_build
    from redpajama.report.shards import open_source
    from redpajama.tables import Packing

    _check(format, to, packing, split)
    store = open_root(root)
    source = open_source(store, read_build(store, name), split)
    export = planned(
        source, format, to, Packing.model_validate({"method": packing or None, "length": length}), shard_tokens
    )
    if f"{export.to}/".startswith(f"{store.url}/"):
        raise UserError(f"--to {to}: it lies in {root}, where `gc` removes what no build names: name another place")
    started = time.monotonic()
    result = run(export, workers or os.cpu_count() or 1)
    summary = {"to": to, "format": format, "packing": export.method, "files": len(result.files)}
    summary |= {**result.counts, "bytes": sum(size for size, _ in result.files.values()), "written": result.redone}
    if push:
        from redpajama.exports.push import push as upload

        summary["pushed"] = upload(export.to, push)
    if format == STORE:
        prefixes = sum(name.endswith(".idx") for name in result.files)
        for said in blends.warnings(prefixes, export.to):
            say(said)
    _show(summary, export.opens(to), time.monotonic() - started, as_json)
    return 0


def _check(format: str, to: str, packing: str, split: str) -> None:
    from redpajama.exports.source import SPLITS
    from redpajama.formats import FORMATS, METHODS

    if not format:
        raise UserError(f"name a format with --format: {', '.join(FORMATS)}")
    if not to:
        raise UserError("name an empty folder with --to")
    if split not in SPLITS:
        raise UserError(f"--split {split}: one of {', '.join(SPLITS)}")
    if packing and packing not in METHODS:
        raise UserError(f"--packing {packing}: one of {', '.join(METHODS)}")


def _show(summary: dict[str, Any], opens: str, seconds: float, as_json: bool) -> None:
    if as_json:
        screen.show_json({**summary, "opens": opens})
        return
    out = screen.console()
    rows = f" in {summary['rows']:,} rows" if "rows" in summary else ""
    filled = f" ({summary['padding']:,} tokens of padding)" if summary.get("padding") else ""
    size = f"{summary['files']:,} files, {summary['bytes'] / 1e6:,.1f} MB"
    out.print(f"{summary['format']}  {summary['tokens']:,} tokens, {summary['documents']:,} documents{rows}{filled}")
    out.print(f"{summary['to']}  {size}, written in {seconds:,.1f} s", soft_wrap=True)
    if "pushed" in summary:
        out.print(f"pushed  {summary['pushed']}", soft_wrap=True)
    out.print(f"opens with  {opens}", soft_wrap=True)
