"""Asks each host of a manifest whether its inputs are still there, without reading any of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from redpajama import dumps, io
from redpajama.build import side_files
from redpajama.download import State, Unavailable, ask
from redpajama.manifest import Dump, Manifest, ManifestError


class Finding(NamedTuple):
    """What became of one input: a pattern, a dump, or a file that options name."""

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
    dump: Dump | None = None
    requester_pays: bool = False


def examine(manifest: Manifest, path: str, mirrors: dict[str, str]) -> list[Finding]:
    """A finding for each input, in the manifest's order; hosts are asked side by side, each by few at a time.

    Raises:
        ManifestError: an input cannot be right, so there is nobody to ask.
    """

    def answer(question: Question) -> Finding:
        try:
            return _examine(question, manifest, mirrors)
        except Unavailable as error:
            return Finding(question.source, question.input, error.state, said=str(error))
        except io.InputError as error:
            is_local = not io.scheme_of(question.input) or io.mirror_of(question.input, mirrors)
            if is_local and not question.dump:
                return Finding(question.source, question.input, State.DEAD, said=str(error))
            raise ManifestError(f"{path}: {question.key}: {error}") from None

    with ThreadPoolExecutor(io.PARALLEL_LISTINGS) as pool:
        return list(pool.map(answer, questions(manifest)))


def questions(manifest: Manifest) -> Iterator[Question]:
    """All that a manifest names."""
    for number, source in enumerate(manifest.source, 1):
        key = f"source[{number}]"
        for pattern in source.inputs:
            yield Question(source.name, f"{key}.inputs", pattern, requester_pays=source.requester_pays)
        for dump in source.dump:
            yield Question(source.name, f"{key}.dump", f"{dump.id} {dump.kind}", dump)
    for name, key, url in side_files(manifest):
        yield Question(name, key, url)


def _examine(question: Question, manifest: Manifest, mirrors: dict[str, str]) -> Finding:
    name, pattern = question.source, question.input
    if question.dump:
        files = dumps.expand([question.dump], manifest.seed, mirrors, manifest.folder)
    elif io.scheme_of(pattern) in ("http", "https") and not io.mirror_of(pattern, mirrors):
        return _examine_web(name, pattern)
    else:
        files = io.expand([pattern], mirrors, manifest.folder, requester_pays=question.requester_pays)
        if files[0].path.startswith("hf://") and (refusal := _ask_hub(files[0])):
            return Finding(name, pattern, State.FORBIDDEN, said=refusal)
    state = State.REQUESTER_PAYS if any(file.requester_pays for file in files) else State.OK
    size = sum(file.bytes or file.about_bytes for file in files)
    return Finding(name, pattern, state, len(files), size, any(file.about_bytes for file in files))


def _ask_hub(file: io.Listed) -> str:
    """Why a file is not handed out though it is listed, or ""."""
    answer = ask(*io.hub_address(file.path))
    if answer.state is State.OK:
        return ""
    return f"HTTP {answer.status} {answer.reason}: {file.url}: accept the dataset's terms on the hub, and set HF_TOKEN"


def _examine_web(source: str, url: str) -> Finding:
    io.check_web(url)
    answer = ask(url)
    if answer.state is not State.OK:
        return Finding(source, url, answer.state, said=f"HTTP {answer.status} {answer.reason}")
    if urlsplit(answer.url).netloc != urlsplit(url).netloc:
        return Finding(source, url, State.MOVED, 1, answer.bytes, said=answer.url)
    return Finding(source, url, State.OK, 1, answer.bytes)
