"""`redpajama doctor`: asks each host of a manifest whether its inputs are still there, without reading any of them."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from redpajama.commands import screen
from redpajama.commands.arguments import JsonOption, ManifestArgument, MirrorOption, load, mirrors
from redpajama.errors import InputError
from redpajama.raw.download import State, Unavailable, ask
from redpajama.raw.hub import hub_address
from redpajama.raw.io import Listed, scheme_of
from redpajama.raw.listing import PARALLEL_LISTINGS, check_web, expand, mirror_of
from redpajama.unsigned import unsigned, unsigned_text

if TYPE_CHECKING:
    from redpajama.commands.table import Table
    from redpajama.manifest import Dataset, Dump, Manifest


class Finding(NamedTuple):
    """What became of one input: a pattern, a dump, a data set, or a file that options name."""

    source: str
    input: str
    state: State
    files: int = 0
    bytes: int = 0  # of all files
    is_estimate: bool = False
    said: str = ""  # by the host; where a moved file is now


class Question(NamedTuple):
    """One input to ask for."""

    source: str
    key: str  # in the manifest
    input: str
    dump: "Dump | None" = None
    dataset: "Dataset | None" = None
    requester_pays: bool = False


def command(manifest: ManifestArgument, mirror: MirrorOption = None, as_json: JsonOption = False) -> int:
    """Ask each host whether its inputs are still there; status 1 if one is dead."""
    findings = examine(load(manifest), manifest, mirrors(mirror))
    counts = Counter(finding.state for finding in findings)
    if as_json:
        screen.show_json([finding._asdict() for finding in findings])
    else:
        out = screen.console()
        out.print(_table(findings))
        summary = ", ".join(f"{counts[state]:,} {state}" for state in State if counts[state])
        out.print(f"{len(findings):,} inputs: {summary}")
    return 1 if counts[State.DEAD] else 0


def _table(findings: list[Finding]) -> "Table":
    """A row an input."""
    table = screen.table("state", "source", "files", "MB", "input", left=(0, 1, 4))
    for found in findings:
        size = f"{'~' if found.is_estimate else ''}{found.bytes / 1e6:,.2f}" if found.files else ""
        note = f"{found.input}\n{found.said}" if found.said else found.input
        table.add_row(found.state, found.source, f"{found.files:,}" if found.files else "", size, note)
    return table


# ---- asking


def examine(manifest: "Manifest", path: str, mirrored: dict[str, str]) -> list[Finding]:
    """A finding for each input, in the manifest's order; hosts are asked side by side, each by few at a time.

    Raises:
        ManifestError: an input cannot be right, so there is nobody to ask.
    """
    from redpajama.manifest import ManifestError
    from redpajama.mistakes import Mistake

    def answer(question: Question) -> Finding:
        try:
            return _examine(question, manifest, mirrored)
        except Unavailable as error:
            return Finding(question.source, question.input, error.state, said=str(error))
        except InputError as error:
            is_local = not scheme_of(question.input) or mirror_of(question.input, mirrored)
            if is_local and not question.dump and not question.dataset:
                return Finding(question.source, question.input, State.DEAD, said=str(error))
            raise ManifestError(path, [Mistake(question.key, str(error))]) from None

    with ThreadPoolExecutor(PARALLEL_LISTINGS) as pool:
        return [_told(finding) for finding in pool.map(answer, questions(manifest))]


def _told(finding: Finding) -> Finding:
    """Without secrets of URLs."""
    return finding._replace(input=unsigned(finding.input), said=unsigned_text(finding.said))


def questions(manifest: "Manifest") -> Iterator[Question]:
    """All that a manifest names."""
    from redpajama.mistakes import key_of
    from redpajama.preflight import readers, side_files

    for place, source in readers(manifest):
        key = key_of(place)
        for pattern in source.inputs:
            yield Question(source.name, f"{key}.inputs", pattern, requester_pays=source.requester_pays)
        for dump in source.dump:
            yield Question(source.name, f"{key}.dump", f"{dump.id} {dump.kind}", dump)
        if source.dataset:
            yield Question(source.name, f"{key}.dataset", source.dataset.path, dataset=source.dataset)
    for name, key, url in side_files(manifest):
        yield Question(name, key, url)


def _examine(question: Question, manifest: "Manifest", mirrored: dict[str, str]) -> Finding:
    name, pattern = question.source, question.input
    if question.dump:
        files = _files_of_dump(question.dump, manifest, mirrored)
    elif question.dataset:
        files = _files_of_dataset(question.dataset, manifest)
    elif scheme_of(pattern) in ("http", "https") and not mirror_of(pattern, mirrored):
        return _examine_web(name, pattern)
    else:
        files = expand([pattern], mirrored, manifest.folder, requester_pays=question.requester_pays)
    if files[0].path.startswith("hf://") and (refusal := _ask_hub(files[0])):
        return Finding(name, pattern, State.FORBIDDEN, said=refusal)
    state = State.REQUESTER_PAYS if any(file.requester_pays for file in files) else State.OK
    size = sum(file.bytes or file.about_bytes for file in files)
    return Finding(name, pattern, state, len(files), size, any(file.about_bytes for file in files))


def _files_of_dump(dump: "Dump", manifest: "Manifest", mirrored: dict[str, str]) -> list[Listed]:
    from redpajama.raw import dumps

    return dumps.expand([dump], manifest.seed, mirrored, manifest.folder)


def _files_of_dataset(dataset: "Dataset", manifest: "Manifest") -> list[Listed]:
    from redpajama.raw.dataset import expand

    return expand(dataset, manifest.folder)


def _ask_hub(file: Listed) -> str:
    """Why a file is not handed out though it is listed, or ""."""
    answer = ask(*hub_address(file.path))
    if answer.state is State.OK:
        return ""
    return f"HTTP {answer.status} {answer.reason}: {file.url}: accept the dataset's terms on the hub, and set HF_TOKEN"


def _examine_web(source: str, url: str) -> Finding:
    check_web(url)
    answer = ask(url)
    if answer.state is not State.OK:
        return Finding(source, url, answer.state, said=f"HTTP {answer.status} {answer.reason}")
    if urlsplit(unsigned(answer.url)).netloc != urlsplit(unsigned(url)).netloc:
        return Finding(source, url, State.MOVED, 1, answer.bytes, said=answer.url)
    return Finding(source, url, State.OK, 1, answer.bytes)
