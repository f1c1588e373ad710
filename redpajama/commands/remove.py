"""`redpajama remove`: take-down of documents from every build of a ROOT; only the shards concerned are rewritten."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption, RootArgument, SoleWriterOption, open_root
from redpajama.errors import BuildFailed, UserError

if TYPE_CHECKING:
    from redpajama.engine.store import Store
    from redpajama.report.absence import Absence

SHOWN = 20  # of a list of files
TOLD = {"id": "id", "near": "a near copy of their text", "text": "text", "url": "URL"}


def command(
    root: RootArgument,
    request: Annotated[str, typer.Option("--request", metavar="NAME", help="what this take-down is called")] = "",
    ids: Annotated[str, typer.Option("--ids", metavar="FILE", help="documents' ids, one a line")] = "",
    urls: Annotated[str, typer.Option("--urls", metavar="FILE", help="their URLs, one a line")] = "",
    domain: Annotated[str, typer.Option("--domain", metavar="D", help="all of a domain and those below it")] = "",
    like: Annotated[str, typer.Option("--like", metavar="TEXT-FILE", help="that have this text, or nearly")] = "",
    refill: Annotated[bool, typer.Option(help="let others take their place in the budget")] = True,
    workers: Annotated[str, typer.Option(metavar="N", help="worker processes, or auto")] = "auto",
    sole_writer: SoleWriterOption = False,
    as_json: JsonOption = False,
) -> int:
    """Take documents out of every build here, now and for ever; the same command goes on after a kill."""
    from redpajama.corpus import withdrawn
    from redpajama.engine.workers import hold_root
    from redpajama.mixers.withdrawing import EMPTIES
    from redpajama.report import absence
    from redpajama.report.builds import find_builds, open_build, read_build
    from redpajama.report.resolving import resolve

    started = time.monotonic()
    withdrawn.check_name(request)
    wish = _wish(ids, urls, domain, like)
    store = open_root(root)
    names = find_builds(store)
    entries = resolve([open_build(store, read_build(store, name)) for name in names], wish, refill)
    was_done = all(request in read_build(store, name).get("withdrawn", {}) for name in names)
    again = partial(_build_again, store, workers=workers, quiet=as_json, is_sole=sole_writer)
    with hold_root(store.url, sole_writer):
        withdrawn.take_in(store, {request: withdrawn.body_of(request, entries)})
    try:
        records = [again(read_build(store, name)) for name in names]
    except BuildFailed as error:
        if was_done or not str(error).startswith(EMPTIES):
            raise
        _take_back(store, request, names, again, sole_writer)  # as long as it stands, nothing could be built here
        raise UserError(f"{str(error).removeprefix(EMPTIES)}; nothing was removed") from None
    builds = [open_build(store, record) for record in records]
    gone = absence.sweep(store, builds, sole_writer)
    found, left = absence.search(builds), absence.remains(builds)
    if found.copies:
        raise BuildFailed(f"{len(found.copies):,} copies are left: {found.copies[0]}")
    told = {"request": request, "entries": len(entries), "removed": gone, "search": found._asdict(), "remains": left}
    told |= {"list": withdrawn.key_of(request), "seconds": round(time.monotonic() - started, 1)}
    told["documents"] = absence.meant(builds, request)
    told["corpus"] = {record["manifest"]["name"]: record["corpus"] for record in records}
    screen.show_json(told) if as_json else _show(told, found)
    return 0


def _wish(ids: str, urls: str, domain: str, like: str) -> Any:
    from redpajama.report.resolving import Wish, lines_of, text_of

    if sum(map(bool, (ids, urls, domain, like))) != 1:
        raise UserError("say what goes by one of --ids, --urls, --domain and --like")
    if like and not text_of(like).strip():
        raise UserError(f"{like}: there is no text in it")
    return Wish(
        lines_of(ids) if ids else (), lines_of(urls) if urls else (), domain.strip(), text_of(like) if like else ""
    )


def _take_back(store: "Store", request: str, names: list[str], again: Callable[..., Any], is_sole: bool) -> None:
    """Build with what was removed again where that is gone already: files stay until all builds are done."""
    from redpajama.corpus import withdrawn
    from redpajama.engine.workers import hold_root
    from redpajama.report.builds import read_build

    with hold_root(store.url, is_sole):
        store.remove(withdrawn.key_of(request))
    for name in names:
        if request in (record := read_build(store, name)).get("withdrawn", {}):
            again(record)


def _build_again(store: "Store", record: dict[str, Any], *, workers: str, quiet: bool, is_sole: bool) -> dict[str, Any]:
    """One build without what is withdrawn."""
    from redpajama.build import build_again
    from redpajama.commands.build import prepare_beam, worker_count
    from redpajama.commands.guard import Guard
    from redpajama.engine.gathered import read_stage
    from redpajama.flow import from_withdrawal
    from redpajama.manifest import Manifest

    stages = from_withdrawal(Manifest(**record["manifest"]), record["until"])
    documents = [read_stage(store, entry["record"]) for entry in record["stages"]["documents"].values()]
    size = sum(each.counts.get("text_bytes", 0) for each in documents)
    arguments, shares = prepare_beam(worker_count(workers, size, sum(each.parts for each in documents)), [])
    with Guard(stages, quiet=quiet, is_local=True) as guard:
        return build_again(record, store.url, arguments, shares=shares, is_sole=is_sole, watch=guard.watch)


def _show(told: dict[str, Any], found: "Absence") -> None:
    out = screen.console()
    by = Counter(each["by"] for each in told["documents"])
    said = ", ".join(f"{number:,} by {TOLD[how]}" for how, number in sorted(by.items()))
    whom = f"{by.total():,} documents{said and f' ({said})'}"
    lines = [
        f"request  {told['list']}: {told['entries']:,} entries take down {whom}",
        f"removed  {len(told['removed']):,} superseded files",
        *_some(told["removed"]),
        f"proof    none of their ids is in {found.drawn_rows:,} rows of lineage of {found.shards:,} shard(s); none of "
        f"their ids or texts in {found.texts:,} texts of {found.parts:,} part(s) of the mixture",
    ]
    for why, where in told["remains"].items():
        lines += [f"remains  in {len(where):,} file(s): {why}", *_some(where)] if where else []
    lines += ["remains  in what was exported or copied out of ROOT: export it anew"]
    lines += [f"corpus   {corpus}" for corpus in told["corpus"].values()]
    screen.say(out, [*lines, f"done in {told['seconds']:,.1f} s"])


def _some(where: list[str]) -> list[str]:
    more = [f"{'':9}… and {len(where) - SHOWN:,} more; --json lists all"] if len(where) > SHOWN else []
    return [*(f"{'':9}{each}" for each in where[:SHOWN]), *more]
