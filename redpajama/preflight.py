"""All that can be wrong before any work: what only the rooms know of a manifest, and the listing of its inputs."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel, ValidationError

from redpajama.corpus import withdrawn
from redpajama.dedup.near import minhash, policy
from redpajama.errors import InputError, UserError
from redpajama.manifest import Manifest, ManifestError, Source, given, suggestion
from redpajama.mistakes import Mistake, Place, key_of, mistakes_of
from redpajama.mixers import matching, shares
from redpajama.pipelines import SOURCES, documents, pipeline, sample
from redpajama.quality import blocklist, cleaning, lists, rules, signals
from redpajama.quality.lists import ListError
from redpajama.quality.measures import inline
from redpajama.quality.measures.catalogue import SIGNALS, names_of
from redpajama.quality.models import language, model_files, perplexity
from redpajama.raw import dataset, dumps, listing
from redpajama.raw.download import Unavailable
from redpajama.raw.io import Listed, scheme_of
from redpajama.tokenize import encode, tokenizer
from redpajama.unsigned import unsigned, unsigned_text
from redpajama.visible import visible

MAX_CHECKED_BYTES = 16 << 20  # of a blocklist before the work: larger ones are read when they are used
Lost = list[tuple[str, Unavailable]]  # what was asked for, and why it is not to be had
MODEL_CHECKS = {
    model_files.FASTTEXT: model_files.check_fasttext,
    model_files.KENLM: perplexity.load_kenlm,
    model_files.SENTENCEPIECE: perplexity.load_pieces,
}


def check(manifest: Manifest, path: str) -> None:
    """What only the rooms know: pipelines, their options, quality rules.

    Raises:
        ManifestError: one line that names the key.
    """
    if found := mistakes(manifest):
        raise ManifestError(path, found)


def mistakes(manifest: Manifest, is_sound: Callable[..., bool] = lambda *place: True) -> list[Mistake]:
    """All that only the rooms know to be wrong.

    Args:
        is_sound: whether the manifest itself says what stands at a place: of what does not nothing is said.
    """
    found, checked = list[Mistake](), list[Source]()
    for number, source in enumerate(manifest.source):
        place = ("source", number)
        of_source = _source_mistakes(source, manifest, key_of(place)) if is_sound(*place, "pipeline") else []
        found += of_source
        bare = {"options": {}, "quality": {}, "pipeline": "rows"}
        checked.append(source if is_sound(*place, "pipeline") and not of_source else source.model_copy(update=bare))
    for number, reading in enumerate(manifest.reading):
        found += _source_mistakes(reading, manifest, key_of(("reading", number))) if is_sound("reading", number) else []
    found += _slice_mistakes(manifest) if is_sound("mixture") else []
    found += _list_mistakes(manifest) if is_sound("withdrawn") else []
    return found + _near_mistakes(complete(manifest.model_copy(update={"source": checked})))


def _list_mistakes(manifest: Manifest) -> list[Mistake]:
    """What is wrong with the lists of withdrawn documents."""
    try:
        withdrawn.named(manifest.withdrawn, manifest.folder)
    except UserError as error:
        return [Mistake("", str(error))]
    return []


def _source_mistakes(source: Source, manifest: Manifest, where: str) -> list[Mistake]:
    found = []
    checks: list[Callable[[Source], object]] = [
        _check_rules,
        signals.check,
        _check_clean,
        _check_models,
        partial(_check_tokens, manifest),
    ]
    if source.pipeline in SOURCES:
        checks = [_check_options, *checks, _check_inputs]
    else:
        hint = suggestion(source.pipeline, list(SOURCES))
        found.append(Mistake(f"{where}.pipeline", f"no pipeline is called '{source.pipeline}'{hint}"))
    for check_of in checks:
        try:
            check_of(source)
        except ValidationError as error:
            found += _below(f"{where}.options", pipeline(source.pipeline).options, error)
        except ValueError as error:
            found.append(Mistake(where, str(error)))
    if source.substrings and find_spec("pydivsufsort") is None:
        found.append(Mistake(f"{where}.substrings", "pydivsufsort is missing: pip install 'redpajama[substrings]'"))
    return list(dict.fromkeys(found))


def complete(manifest: Manifest) -> Manifest:
    """The manifest with what its pipelines add: what they say of texts where it says nothing, and quality rules.

    Rules that options bring along stand under those of a source's own `[source.quality]`.

    Raises:
        ManifestError: together, they would keep nothing.
    """
    has_tokenizer = bool(manifest.tokenizer and manifest.tokenizer.path)
    sources = [_completed(source, has_tokenizer) for source in manifest.source]
    for number, source in enumerate(sources):
        try:
            rules.parse(source.quality)
        except ValueError as error:
            raise ManifestError(key_of(("source", number)), [Mistake("", str(error))]) from None
    return manifest.model_copy(update={"source": sources})


def _completed(source: Source, has_tokenizer: bool) -> Source:
    reader, fraction = pipeline(source.pipeline), source.max_removed_fraction
    brought = reader.quality_rules(reader.options(**source.options)) if reader.quality_rules else {}
    wanted = source.quality | (rules.of_tokenizer(source.quality) if has_tokenizer else {})
    added = {
        "kind": source.kind or reader.kind,
        "max_removed_fraction": reader.max_removed_fraction if fraction is None else fraction,
        "quality": brought | wanted,
    }
    return source.model_copy(update=added)


def _near_mistakes(manifest: Manifest) -> list[Mistake]:
    try:
        if manifest.dedup.near is not None:
            policy.check(manifest, minhash.parse(manifest.dedup.near), list(inline.SIGNALS))
    except ValidationError as error:
        return _below("dedup.near", minhash.MinHashParams, error)
    except ValueError as error:
        return [Mistake("dedup.near", str(error))]
    return []


def _slice_mistakes(manifest: Manifest) -> Iterator[Mistake]:
    """Slices by a signal that nobody measures."""
    for source in manifest.source if manifest.mixture else ():
        try:
            measured = [*inline.SIGNALS, *names_of(signals.wanted_sets(source))]
        except ValueError:
            continue  # told of the source
        leaves = shares.leaves(given(manifest.mixture), source.name)
        for key, name in matching.unmeasured(leaves, measured).items():
            edit = f"add signals = [\"{SIGNALS[key].set}\"] to source '{source.name}'"
            yield Mistake("mixture.slice", f"slice '{name}' asks for the signal '{key}', which is not measured: {edit}")


def _below(where: str, model: type[BaseModel], error: ValidationError) -> list[Mistake]:
    """What is wrong in a table that only a room knows."""
    found = [each for problem in error.errors(include_url=False) for each in mistakes_of(problem, model)]
    return [Mistake(f"{where}.{each.key}".rstrip("."), each.message) for each in found]


def _check_options(source: Source) -> None:
    pipeline(source.pipeline).options(**source.options)


def _check_tokens(manifest: Manifest, source: Source) -> None:
    if signals.wants_tokens(source) and not (manifest.tokenizer and manifest.tokenizer.path):
        raise ValueError("signals: the set 'tokens' is measured before any document goes: give tokenizer.path")


def _check_rules(source: Source) -> None:
    rules.parse(source.quality)


def _check_clean(source: Source) -> None:
    if source.clean:
        cleaning.check(source.clean)


def _check_models(source: Source) -> None:
    if source.language:
        language.check(source)
    if source.perplexity:
        perplexity.check(source)


def _check_inputs(source: Source) -> None:
    reader = pipeline(source.pipeline)
    if source.dump and source.pipeline != "common_crawl":
        raise ValueError(f"dump: a dump of CommonCrawl goes with pipeline = 'common_crawl', not '{source.pipeline}'")
    if reader.check_inputs and (refusal := reader.check_inputs(source.inputs)):
        raise ValueError(refusal)


def list_inputs(
    manifest: Manifest, path: str, mirrors: dict[str, str], unavailable: list[dict[str, str]] | None = None
) -> list[dict[str, Any]]:
    """Every raw file of the manifest: source, the fields of `Listed`, and the SHA-256 it must have ("" = any).

    Args:
        unavailable: if given, what is not to be had is put there: source, input, state, and what the host said.

    Raises:
        ManifestError: a pattern matches nothing, an expected SHA-256 names no file, or the tokenizer is none.
    """
    wrong: list[Mistake] = []
    listed = list_all(manifest, mirrors, wrong, unavailable)
    if wrong:
        raise ManifestError(path, wrong)
    return listed


def list_all(
    manifest: Manifest,
    mirrors: dict[str, str],
    wrong: list[Mistake],
    unavailable: list[dict[str, str]] | None = None,
    is_sound: Callable[..., bool] = lambda *place: True,
) -> list[dict[str, Any]]:
    """The same; mistakes are put into `wrong`, and the other inputs are listed."""
    listed = []
    for where, source in readers(manifest):
        lost: Lost | None = None if unavailable is None else []
        if not is_sound(*where, source.read_key):
            continue
        try:
            files = _files_of(source, manifest, mirrors, lost)
        except InputError as error:
            wrong.append(Mistake(key_of((*where, source.read_key)), str(error)))
            continue
        wanted = {unsigned(url): sha256 for url, sha256 in source.sha256.items()}
        unknown = sorted(wanted.keys() - {file.url for file in files})
        if unknown and not lost:
            wrong.append(Mistake(key_of((*where, "sha256")), f"no input is called '{unknown[0]}'"))
        is_known = source.sample is not None and source.pipeline in SOURCES
        chosen = sample.chosen_files(files, source, manifest.seed) if files and is_known else files
        listed += [_entry(source.name, file, wanted.get(file.url, "")) for file in chosen]
        _note(source.name, lost, unavailable)
    return listed + _list_side_files(manifest, mirrors, wrong, unavailable)


def readers(manifest: Manifest) -> Iterator[tuple[Place, Source]]:
    """(place in the manifest, source or reading) of all that read raw files."""
    for kind, all_of in (("source", manifest.source), ("reading", manifest.reading)):
        for number, source in enumerate(all_of):
            if not source.reading:
                yield (kind, number), source


def _list_side_files(
    manifest: Manifest, mirrors: dict[str, str], wrong: list[Mistake], unavailable: list[dict[str, str]] | None
) -> list[dict[str, Any]]:
    listed = []
    for name, key, url in side_files(manifest):
        lost: Lost | None = None if unavailable is None else []
        try:
            files = listing.expand([url], mirrors, manifest.folder, unavailable=lost)
            if files and not scheme_of(files[0].path):  # here, so it can be looked at now
                _check_side_file(manifest, name, files[0].path)
        except (InputError, encode.TokenizerError, model_files.ModelError, ListError) as error:
            wrong.append(Mistake(key, str(error)))
            continue
        listed += [_entry(name, file, "") for file in files]
        _note(name, lost, unavailable)
    return listed


def _files_of(source: Source, manifest: Manifest, mirrors: dict[str, str], lost: Lost | None) -> list[Listed]:
    if source.dump:
        return dumps.expand(source.dump, manifest.seed, mirrors, manifest.folder, lost)
    if source.dataset:
        return dataset.expand(source.dataset, manifest.folder, lost)
    pays = source.requester_pays
    return listing.expand(source.inputs, mirrors, manifest.folder, requester_pays=pays, unavailable=lost)


def _note(source: str, lost: Lost | None, unavailable: list[dict[str, str]] | None) -> None:
    if unavailable is not None:
        for name, error in lost or ():
            said = {"input": unsigned(name), "state": error.state, "said": unsigned_text(str(error))}
            unavailable.append({"source": source, **said})


def _check_side_file(manifest: Manifest, name: str, path: str) -> None:
    if name == tokenizer.INPUT:
        wish = given(manifest.tokenizer)
        loaded = encode.load(path, wish.end_of_document, wish.backend)
        if loaded.fallback:
            slower = f"{path}: {loaded.fallback}; tokenizers encodes it, some twenty times slower"
            sys.stderr.write(f"redpajama: {visible(slower)}\n")
    elif f".{blocklist.INPUT}." in name:
        if os.path.getsize(path) <= MAX_CHECKED_BYTES:
            deque(blocklist.read_entries(path, path), maxlen=0)
    elif name.endswith(cleaning.INPUT):
        lists.read_words(path, path)
    elif (field := name.rpartition(".")[2]) in signals.LIST_FIELDS:
        signals.read_list(field, path, path)
    elif check := MODEL_CHECKS.get(name[name.rindex(".") :]):
        check(model_files.ModelFile(path, path, ""))


def side_files(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """(name among the inputs, key in the manifest, URL) of files that are no raw input: metadata, models, tokenizer."""
    for where, source in readers(manifest):
        for field in documents.side_fields(source) if source.pipeline in SOURCES else ():
            yield f"{source.name}.{field}", f"{key_of(where)}.options.{field}", source.options[field]
    for number, source in enumerate(manifest.source, 1):
        if source.clean and source.clean.bad_words:
            yield f"{source.name}.{cleaning.INPUT}", f"source[{number}].clean.bad_words", source.clean.bad_words
        for place, pattern in enumerate(blocklist.patterns(source.blocklist) if source.blocklist else []):
            yield f"{source.name}.{blocklist.INPUT}.{place}", f"source[{number}].blocklist.lists", pattern
        for field in signals.LIST_FIELDS:
            if url := getattr(source, field):
                yield f"{source.name}.{field}", f"source[{number}].{field}", url
    yield from model_files.side_files(manifest)
    if manifest.tokenizer and (url := manifest.tokenizer.path):
        whole = url if unsigned(url).endswith(".json") else f"{url.rstrip('/')}/tokenizer.json"
        yield tokenizer.INPUT, "tokenizer.path", whole


def _entry(source: str, file: Listed, sha256: str) -> dict[str, Any]:
    return {"source": source, **asdict(file), "sha256": sha256}
