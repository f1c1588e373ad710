"""`redpajama build`: from raw files to shards, watched."""

import logging
import os
import time
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpajama.commands import foresight, screen
from redpajama.commands.arguments import (
    JsonOption,
    ManifestArgument,
    MirrorOption,
    OutOption,
    SoleWriterOption,
    load,
    mirrors,
)
from redpajama.commands.terminal import say
from redpajama.errors import UserError

if TYPE_CHECKING:
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest

MAX_PARTS = 10_000_000  # of a source; a plan of more fits in no memory
SMALL_BUILD_BYTES = 64 << 20  # below this, worker processes cost more than they give


def command(
    manifest: ManifestArgument,
    out: OutOption,
    beam_options: Annotated[list[str] | None, typer.Argument(metavar="[-- BEAM OPTIONS]")] = None,
    until: Annotated[str, typer.Option(help="stop after: documents, dedup, mixture or tokens")] = "tokens",
    workers: Annotated[str, typer.Option(metavar="N", help="worker processes, or auto")] = "auto",
    mirror: MirrorOption = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="measure every input's SHA-256 again")] = False,
    shared_files: Annotated[
        bool,
        typer.Option("--shared-files", help="workers elsewhere see ROOT and inputs under these paths"),
    ] = False,
    sole_writer: SoleWriterOption = False,
    pass_env: Annotated[
        list[str] | None, typer.Option("--pass-env", metavar="NAME", help="give this variable to workers elsewhere too")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Do it, or go on where an earlier build was stopped."""
    from redpajama import preflight
    from redpajama.build import build
    from redpajama.commands.guard import Guard
    from redpajama.corpus import withdrawn
    from redpajama.engine.store import Store, check_layout
    from redpajama.flow import flow

    _check(until, workers)
    model = load(manifest)
    listed = preflight.list_inputs(model, manifest, mirrors(mirror))
    raw_bytes = sum(file["bytes"] or file["about_bytes"] for file in listed)
    count = worker_count(workers, raw_bytes, _about_parts(model, listed))
    arguments, shares = prepare_beam(count, beam_options or [])
    if not shared_files:
        _check_places(arguments, out, listed)
    started = time.monotonic()
    store = Store(out)
    check_layout(store)
    requests = withdrawn.together(store, withdrawn.named(model.withdrawn, model.folder))
    with Guard(flow(model, until, raw_bytes, bool(requests)), quiet=as_json, is_local=bool(shares)) as guard:
        how: dict[str, Any] = {
            "until": until,
            "rehash": rehash,
            "shares": shares,
            "is_sole": sole_writer,
            "environment": _passed_on(pass_env),
        }
        record = build(model, listed, out, arguments, watch=guard.watch, **how)
    foresight.keep(store, model, listed, count)
    _show(record, out, time.monotonic() - started, as_json)
    return 0


def _check(until: str, workers: str) -> None:
    from redpajama.flow import UNTIL
    from redpajama.raw import hosts

    hosts.per_host()  # its mistake is told here, not by a worker
    if until not in UNTIL:
        raise UserError(f"--until {until}: one of {', '.join(UNTIL)}")
    if workers != "auto" and not (workers.isdecimal() and int(workers) > 0):
        raise UserError(f"--workers {workers}: give a number of processes, or auto")


def worker_count(wish: str, input_bytes: int, parts: int = 1 << 30) -> int:
    """`auto`: one process for small inputs, else one a core. More than cores or parts would only cost: that is said."""
    cores = os.cpu_count() or 1
    if wish == "auto":
        return 1 if input_bytes < SMALL_BUILD_BYTES else cores
    if (most := max(1, min(cores, parts))) < int(wish):
        why = f"this machine has {cores:,} core(s)" if most == cores else f"there are about {parts:,} part(s) to read"
        say(f"--workers {int(wish):,}: {why}: {most:,} worker process(es)")
    return min(most, int(wish))


def _about_parts(model: "Manifest", listed: list[dict[str, Any]]) -> int:
    """How many parts the inputs may make at most.

    Raises:
        UserError: too many.
    """
    total = 0
    for source in model.readers:
        sizes = [file["bytes"] or file["about_bytes"] for file in listed if file["source"] == source.name]
        if (parts := sum(1 + size // source.part_bytes for size in sizes)) > MAX_PARTS:
            least = max(sizes, default=0) * len(sizes) // MAX_PARTS + 1
            raise UserError(
                f"source '{source.name}': part_bytes = {source.part_bytes:,} would make {parts:,} parts of its inputs, "
                f"more than {MAX_PARTS:,}: give {least:,} or more, or leave it out"
            )
        total += parts
    return total


def _check_places(arguments: list[str], out: str, listed: list[dict[str, Any]]) -> None:
    from redpajama.engine import beam

    beam.check_places(arguments, out, (file["path"] for file in listed))


def prepare_beam(count: int, extra: list[str]) -> tuple[list[str], int]:
    """(Beam's arguments, `shares` as in `build`); sets the environment that workers inherit, before Beam is loaded."""
    os.environ.update(environment())
    logging.getLogger().setLevel(logging.ERROR)  # Beam warns of cloud packages that are not needed
    from redpajama.engine import beam

    arguments = beam.beam_arguments(count, extra)
    return arguments, count if beam.is_local(arguments) else 0


def environment() -> dict[str, str]:
    """The limits of threads, for processes that this one starts. The user's own settings hold."""
    from redpajama.engine.workers import limits

    return limits() | dict(os.environ)


def _passed_on(names: list[str] | None) -> dict[str, str]:
    """{name: value} of variables that workers elsewhere need.

    Raises:
        UserError: one is not set here.
    """
    for name in names or []:
        if name not in os.environ:
            raise UserError(f"--pass-env {name}: it is not set here")
    return {name: os.environ[name] for name in names or []}


# ---- what came out


def _show(record: dict[str, Any], root: str, seconds: float, as_json: bool) -> None:
    """The table of sources, where the shards lie, and the corpus hash."""
    from redpajama.engine.store import Store
    from redpajama.manifest import Manifest
    from redpajama.pipelines import sample
    from redpajama.report.encoding import fallback_lines
    from redpajama.report.funnel import funnel
    from redpajama.report.unmet import unmet_lines

    store = Store(root)
    if as_json:
        screen.show_json(screen.build_json(store, record))
        return
    out, rows = screen.console(), funnel(store, record)
    out.print()
    out.print(screen.funnel_table(rows))
    screen.print_matrices(out, store, record)
    screen.print_near(out, store, record)
    sampled = sample.lines(Manifest(**record["manifest"]))
    out.print()
    noted = [*_overshoot(store, record), *sampled, *fallback_lines(store, record), *unmet_lines(store, record)]
    screen.say(out, [*_shards(store, record), *noted])
    out.print(f"corpus   {record['corpus']}", style="bold", soft_wrap=True)
    place = quote(root)
    told = f"`redpajama verify {place}` checks it, `redpajama why {place} ID` tells of a document"
    screen.say(out, [f"built in {seconds:,.1f} s; {told}"])


def _overshoot(store: "Store", record: dict[str, Any]) -> list[str]:
    """Slices that one document takes far beyond their target."""
    if "budget" not in record["stages"]:
        return []
    from redpajama.mixers import account
    from redpajama.report.builds import open_build

    return account.overshoot_lines(account.overshoot(open_build(store, record)))


def _shards(store: "Store", record: dict[str, Any]) -> Iterator[str]:
    """How many tokens there are, and where; nothing where the build ended before them."""
    from redpajama.engine.gathered import read_stage
    from redpajama.exports.blends import warnings
    from redpajama.formats import STORE
    from redpajama.report.current import folder_of
    from redpajama.report.exporting import folder_of as export_folder

    wanted = record["manifest"]["mixture"]
    for entry in record["stages"].get("tokens", {}).values():
        stage = read_stage(store, entry["record"])
        tokens, kept = stage.counts["tokens"], stage.counts["kept"]
        yield (
            f"tokens   {tokens:,} of {wanted['budget_tokens']:,} wanted, {kept:,} documents in {stage.parts:,} shard(s)"
        )
        yield f"shards   {store.path(folder_of(record['manifest']['name']))}/"
        for name in record["manifest"]["shards"]["formats"]:
            if name != STORE:
                yield f"{name:8} {store.path(export_folder(record['manifest']['name'], name))}/"
        for said in warnings(stage.parts, store.root):
            yield f"shards   {said}"
