"""A manifest for files as they lie: each is looked at, those alike make a source, and what is seen stands in comments.

A source is named for its folder or file. Texts are read by `files`, tables by the pipeline of the release whose fields
they have, else by `rows` with the field that holds the longest texts.
"""

import json
import os
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from redpajama.errors import UserError
from redpajama.extract.licenses import identify as licences_in
from redpajama.extract.licenses import is_license_name
from redpajama.manifest import Source
from redpajama.pipelines import files, glance, pipeline
from redpajama.pipelines.glance import Look, Trial
from redpajama.quality.models import language, model_files
from redpajama.raw import decompress, listing
from redpajama.raw.io import Listed, RawFile
from redpajama.raw.tar import read_tar
from redpajama.records import Tally
from redpajama.tokenize import BYTES_A_TOKEN

MAX_LOOKED = 5000  # files that are opened; of a larger folder so many, evenly
MAX_TRIED = 50  # files of a source that its pipeline reads
SECONDS = 3.0  # of reading, for each source
USUAL_BAD_FRACTION = 0.01  # what a source allows that says nothing
MAX_VOCABULARY = 32_000
UNREAD = ("binary", "pdf", "empty", "unknown")  # no pipeline reads these
MAX_MEMBERS = 200  # of a tar, whose names are read
MAX_NAME_CHARS = 24  # of a source that is named for its file
MAX_NAMED = 3  # files that are named one by one


@dataclass
class Group:
    """Files that are read alike."""

    pipeline: str
    folder: str  # that they lie below, relative to the manifest
    options: str = ""  # TOML
    looks: list[Look] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(look.file.bytes for look in self.looks)


@dataclass
class Draft:
    """What was found."""

    sources: dict[str, Group]
    trials: dict[str, list[Trial]]
    languages: dict[str, str]  # of a source, in words
    licences: list[str]  # of each licence file, in words
    unread: Counter[str]  # files by format

    @property
    def tokens(self) -> dict[str, int]:
        """Of each source, reckoned from what was read of it; at least 1."""
        sizes = {name: _text_bytes(group, self.trials[name]) for name, group in self.sources.items()}
        return {name: max(1, int(size / BYTES_A_TOKEN)) for name, size in sizes.items()}


def draft(places: Sequence[str], base: Path) -> Draft:
    """Look at folders and files; paths in what comes out are relative to `base`.

    Raises:
        UserError: a place is not there, or nothing in it can be read.
    """
    listed = [file for place in places for file in _listed(place, base)]
    groups, unread = _grouped(listed)
    sources = _named(groups)
    trials = {name: _tried(name, group) for name, group in sources.items()}
    for name in [name for name, found in trials.items() if not any(trial.documents for trial in found)]:
        group = sources.pop(name)
        unread[f"{group.looks[0].format} without a document in it{_losses(trials[name])}"] += len(group.looks)
    if not sources:
        seen = ", ".join(f"{count:,} {format}" for format, count in unread.items()) or "no file"
        raise UserError(f"{', '.join(places)}: nothing here can be read ({seen})")
    spoken = {name: _language(trials[name]) for name in sources}
    return Draft(sources, trials, spoken, _licences(listed), unread)


def _losses(found: Sequence[Trial]) -> str:
    """` (license-not-allowed)`: why the first units of some files made no document."""
    reasons = dict.fromkeys(str(trial.first_loss["reason"]) for trial in found if trial.first_loss)
    return f" ({', '.join(reasons)})" if reasons else ""


def _listed(place: str, base: Path) -> Iterator[Listed]:
    path = Path(os.path.abspath(place))
    if not path.exists():
        raise UserError(f"{place}: there is no such file or folder")
    url = os.path.relpath(path, base)
    yield from listing.list_local(f"{url}/" if path.is_dir() else url, base)


# ---- groups


def _grouped(listed: Sequence[Listed]) -> tuple[list[Group], Counter[str]]:
    groups, unread = dict[tuple[str, str, str], Group](), Counter[str]()
    step = max(1, len(listed) // MAX_LOOKED)
    known: dict[str, Look] = {}
    for number, file in enumerate(listed):
        if is_license_name(file.url):
            continue
        suffix = _suffix(file.url)
        is_seen = number % step and suffix in known
        found = replace(known[suffix], file=file) if is_seen else _look(file)
        known[suffix] = found
        readers = glance.fitting(found)
        if found.format in UNREAD or not readers:
            unread[found.format] += 1
            continue
        reader, options = _reader(found, readers)
        if reader == "files" and not _says_what_it_is(found):
            unread[f"{found.format} whose name does not say so"] += 1
            continue
        folder = _folder(file, reader)
        key = (reader, folder, options if reader != "files" else "")
        groups.setdefault(key, Group(reader, folder, options)).looks.append(found)
    return list(groups.values()), unread


def _suffix(url: str) -> str:
    return PurePosixPath(files.PACKED.sub("", url.lower())).suffix


def _says_what_it_is(found: Look) -> bool:
    """Whether `files` can tell by its name what a file is: a document of some suffix, or an archive."""
    name = found.file.url.lower()
    if found.format in ("zip", "tar"):
        return name.endswith(".zip") or files.TAR.search(name) is not None
    return _suffix(name) != ""


def _look(file: Listed) -> Look:
    return glance.look(file, RawFile(file.url, file.path, file.bytes, "", ""))


def _reader(found: Look, readers: list[str]) -> tuple[str, str]:
    """(pipeline, its options) of a file."""
    reader = _of_tar(found.file) if found.format == "tar" else readers[0]
    if reader == "rows":
        table = (f"\noptions.{key} = {json.dumps(value)}" for key, value in found.table.items())
        return reader, f"options.fields = {_fields(found)}{''.join(table)}"
    return reader, ""


def _of_tar(file: Listed) -> str:
    """By the first names in it: e-prints, a repository with its licence, or files."""
    raw = RawFile(file.url, file.path, file.bytes, "")
    members = read_tar(decompress.chunks(raw, Tally()), 1, lambda name: False)
    names = [member.name for member in islice(members, MAX_MEMBERS)]
    if any(glance.EPRINT.match(name) for name in names):
        return "arxiv"
    return "github" if any(is_license_name(name) for name in names) else "files"


def _fields(found: Look) -> str:
    """The inline table that says which field is what."""
    fields = found.fields
    chosen = {"text": next(iter(glance.text_fields(found)), "text")}
    ids = [name for name in ("id", "doc_id", "document_id", "_id", "uuid") if name in fields]
    urls = [name for name in ("url", "link", "uri", "URL", "Source") if name in fields and name != chosen["text"]]
    chosen |= {"id": ids[0]} if ids else {}
    chosen |= {"url": urls[0]} if urls else {}
    inner = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in chosen.items())
    return f'{{ {inner}, meta = "all" }}'


def _folder(file: Listed, reader: str) -> str:
    """Texts of a folder go together, however deep; tables and dumps by their own folder."""
    if reader == "files" and file.tree:
        return file.tree.rstrip("/")
    return str(PurePosixPath(file.url).parent)


def _named(groups: Iterable[Group]) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for group in groups:
        only = group.looks[0].file.url if len(group.looks) == 1 else ""
        stem = PurePosixPath(only).name.partition(".")[0]
        if not only or len(stem) > MAX_NAME_CHARS:
            stem = PurePosixPath(os.path.abspath(group.folder)).name
        name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-")
        name = name if re.match("[a-z]", name) else f"{group.pipeline}-{name}".rstrip("-")
        own = name if name not in found else f"{name}-{group.pipeline.replace('_', '-')}"
        while own in found:
            own += "-more"
        found[own] = group
    return found


# ---- what they hold


def _tried(name: str, group: Group) -> list[Trial]:
    source = _source(name, group)
    chosen = [replace(look.file, tree="") for look in group.looks]  # the manifest names them by patterns, not as trees
    return [trial for _, trial in glance.trials(source, chosen, SECONDS, MAX_TRIED) if trial]


def _source(name: str, group: Group) -> Source:
    values = tomllib.loads(f"{group.options}\n{_suffix_option(group)}")
    return Source(name=name, pipeline=group.pipeline, inputs=inputs_of(group), **values)


def _suffix_option(group: Group) -> str:
    """`options.suffixes` where files have suffixes that the pipeline would pass over."""
    if group.pipeline != "files":
        return ""
    wanted = sorted({_suffix(look.file.url) for look in group.looks if look.format in ("text", "html")} - {""})
    usual = files.Options().suffixes
    more = [suffix for suffix in wanted if suffix not in usual]
    return f"options.suffixes = {json.dumps(wanted)}" if more else ""


def inputs_of(group: Group) -> list[str]:
    """The patterns that match its files: few are named, many by their endings."""
    urls = sorted(look.file.url for look in group.looks)
    if len(urls) <= MAX_NAMED:
        return urls
    deep = any(str(PurePosixPath(url).parent) != group.folder for url in urls)
    endings = sorted({_ending(url) for url in urls})
    return [str(PurePosixPath(group.folder) / ("**/*" if deep else "*")) + ending for ending in endings]


def _ending(url: str) -> str:
    """`.jsonl.gz`: the suffix, and before one that says how it is packed another."""
    return "".join(PurePosixPath(url).suffixes[-2 if files.PACKED.search(url) else -1 :])


def _text_bytes(group: Group, found: Sequence[Trial]) -> float:
    raw = sum(trial.raw_bytes for trial in found)
    return group.bytes * sum(trial.text_bytes for trial in found) / raw if raw else 0.0


def documents_of(group: Group, found: Sequence[Trial]) -> int:
    """Reckoned from what was read."""
    raw = sum(trial.raw_bytes for trial in found)
    return round(group.bytes * sum(trial.documents for trial in found) / raw) if raw else 0


def _language(found: Sequence[Trial]) -> str:
    """`en 18 of 20`: the most frequent labels of the first texts, by lid.176."""
    texts = [" ".join(text[:2000].split()) for trial in found for text in trial.texts]
    labels, _ = language.identify(model_files.load(language.EMBEDDED), texts)
    ranked = Counter(str(label).removeprefix(model_files.LABEL) for label in labels).most_common(3)
    return ", ".join(f"{label} {count}" for label, count in ranked) + f" of {len(texts)} texts"


def _licences(listed: Sequence[Listed]) -> list[str]:
    found = defaultdict[str, list[str]](list)
    for file in (file for file in listed if is_license_name(file.url)):
        with open(file.path, "rb") as stream:
            text = stream.read(1 << 16).decode("utf-8", "replace")
        found[" ".join(licences_in(text)) or "terms that are not known"].append(file.url)
    return [f"{', '.join(urls[:3])}{' …' if len(urls) > 3 else ''}: {names}" for names, urls in found.items()]


# ---- the manifest


def render(found: Draft, name: str) -> str:
    """The manifest, commented; it builds as it is."""
    tokens = found.tokens
    lines = [
        "# Written by `redpajama init` from what it saw; change what you like, then:",
        "#     redpajama plan THIS --out ROOT      what would run, and every mistake",
        "#     redpajama build THIS --out ROOT",
        *(f"# Licence file: {each}" for each in found.licences),
        *(f"# Not read: {count:,} file(s), {format}" for format, count in sorted(found.unread.items())),
        "",
        f'name = "{name}"',
        "seed = 1  # of every draw: the same seed gives the same corpus",
        "",
        '[tokenizer]  # trained on these texts; or path = "hf://EleutherAI/gpt-neox-20b"',
        f"train = {{ vocab_size = {vocabulary(sum(tokens.values()))} }}",
    ]
    for each, group in found.sources.items():
        lines += ["", *_source_lines(each, group, found)]
    return "\n".join([*lines, "", *_mixture_lines(tokens)]) + "\n"


def vocabulary(tokens: int) -> int:
    """Entries of a tokenizer that so many tokens can train: one for each 50 of them."""
    return min(MAX_VOCABULARY, max(512, tokens // 50))


def _source_lines(name: str, group: Group, found: Draft) -> Iterator[str]:
    trials = found.trials[name]
    formats = ", ".join(dict.fromkeys(look.format for look in group.looks))
    size, count = f"{group.bytes / 1e6:,.2f} MB", documents_of(group, trials)
    yield f"# {len(group.looks):,} file(s), {size}, {formats}; about {count:,} documents"
    yield f"# language: {found.languages[name]}"
    if fields := group.looks[0].fields:
        yield f"# fields: {', '.join(fields)}"
    yield "[[source]]"
    yield f'name = "{name}"'
    unit = pipeline(group.pipeline).unit
    yield f'pipeline = "{group.pipeline}"  # a unit is a {unit}; its options: `redpajama sources {group.pipeline}`'
    yield f"inputs = {json.dumps(inputs_of(group), ensure_ascii=False)}"
    yield from filter(None, (group.options, _suffix_option(group)))
    bad, units = sum(trial.unreadable for trial in trials), sum(trial.units for trial in trials)
    if bad > USUAL_BAD_FRACTION * units:
        seen = f"{bad:,} of {units:,} units that were looked at cannot be read"
        yield f"max_bad_fraction = {min(1, 2 * bad / units):.2g}  # {seen}: `redpajama show ROOT {name} --quarantined`"
    yield "# quality.min_words = 50  # `redpajama signals` lists what rules can be about"


def _mixture_lines(tokens: dict[str, int]) -> Iterator[str]:
    yield "# [dedup]"
    yield '# near = "fineweb"  # near-duplicates go, too; exact ones always do'
    yield ""
    yield "[mixture]  # weights are the tokens that each source is reckoned to have"
    yield f"budget_tokens = {max(1, sum(tokens.values()))}"
    yield "allow_shortfall = true  # what there is, where dedup leaves less"
    for name, count in tokens.items():
        yield f'[[mixture.slice]]\nsource = "{name}"\nweight = {count}'
