"""One build: the flow from raw files to shards, run to its end and written down."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from redpajama import dumps, io, workers
from redpajama.artifacts import BuildFailed, Store, crash_point, read_stage
from redpajama.dedup import exact, minhash, near, paragraphs, policy, substrings
from redpajama.hashing import canonical_json, sha256_of
from redpajama.manifest import Manifest, ManifestError, Source, suggestion
from redpajama.mixers import counts, mixture
from redpajama.pipelines import SOURCES, documents, pipeline
from redpajama.quality import (
    annotations,
    blocklist,
    citations,
    cleaning,
    judge,
    language,
    models,
    perplexity,
    rules,
    scores,
    signals,
    training,
)
from redpajama.stages import Build, Job, Regroup, Step
from redpajama.tokenize import encode, shards, tokenizer

Lost = list[tuple[str, io.Unavailable]]  # what was asked for, and why it is not to be had
MODEL_CHECKS = {
    models.FASTTEXT: models.check_fasttext,
    models.KENLM: perplexity.load_kenlm,
    models.SENTENCEPIECE: perplexity.load_pieces,
}
UNTIL = ("documents", "dedup", "mixture", "tokens")


def flow(manifest: Manifest, until: str = "tokens") -> list[Step | Regroup]:
    """The steps of a build, in order. Without a `[mixture]` it ends with dedup."""
    mixing = [counts.COUNT, counts.CHOOSE, mixture.BUDGET, mixture.MIXTURE]
    needed = manifest.mixture or any(map(annotations.wants_tokens, manifest.source))
    given = [tokenizer.STAGE] if needed and manifest.tokenizer.path else []  # first: it may be no tokenizer
    compared = any(source.paragraphs for source in manifest.source)
    lines = [documents.EXTRACTED, paragraphs.PARAGRAPHS] if compared else []
    measured = [annotations.STAGE] if any(map(annotations.wanted_sets, manifest.source)) else []
    by_goal = {
        "documents": [documents.INPUTS, *given, documents.CUTS, *lines, documents.DOCUMENTS],
        "dedup": [*measured, *_models(manifest), judge.STAGE, *_dedup(manifest)],
        "mixture": [*([] if given else [tokenizer.STAGE]), *mixing] if manifest.mixture else [],
        "tokens": [shards.STAGE] if manifest.mixture else [],
    }
    return [step for goal in UNTIL[: UNTIL.index(until) + 1] for step in by_goal[goal]]


def _models(manifest: Manifest) -> list[Step | Regroup]:
    """The steps that train models and apply them; none where no source asks for any."""
    trained = [classifier for classifier in manifest.classifier if not classifier.path]
    return [
        *([citations.STAGE] if any(classifier.cited_by for classifier in trained) else []),
        *([training.EXAMPLE_STEP, training.STAGE] if trained else []),
        *([scores.STAGE] if any(source.wants_models for source in manifest.source) else []),
    ]


def _dedup(manifest: Manifest) -> list[Step | Regroup]:
    """The steps that find copies."""
    spans = [substrings.STAGE] if any(source.substrings for source in manifest.source) else []
    texts = [exact.EXACT] if manifest.dedup.exact else []
    return [exact.IDENTITY, *texts, *([] if manifest.dedup.near is None else _near(manifest)), *spans]


def _near(manifest: Manifest) -> list[Step | Regroup]:
    from redpajama.dedup import star, survivors  # Numba is loaded where it is needed

    components = star.STAGES if manifest.dedup.components == "star" else [near.CLUSTERS]
    doubts = [survivors.DOUBTS] if minhash.parse(manifest.dedup.near).verify == "sketch" else []
    return [near.SIGNATURES, near.CANDIDATES, *components, *doubts, survivors.NEAR]


# ---- before any work


def check(manifest: Manifest, path: str) -> None:
    """What only the rooms know: pipelines, their options, quality rules.

    Raises:
        ManifestError: one line that names the key.
    """
    for number, source in enumerate(manifest.source, 1):
        where = f"{path}: source[{number}]"
        if source.pipeline not in SOURCES:
            hint = suggestion(source.pipeline, list(SOURCES))
            raise ManifestError(f"{where}.pipeline: no pipeline is called '{source.pipeline}'{hint}")
        try:
            _check_source(source)
            _check_tokens(source, manifest)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(["options", *map(str, problem["loc"])])
            known = list(pipeline(source.pipeline).Options.model_fields)
            hint = suggestion(key[8:], known) if problem["type"] == "extra_forbidden" else ""
            message = "unknown key" if hint else problem["msg"].removeprefix("Value error, ")
            raise ManifestError(f"{where}.{key}: {message}{hint}") from None
        except ValueError as error:
            raise ManifestError(f"{where}: {error}") from None
        if source.substrings and find_spec("pydivsufsort") is None:
            raise ManifestError(f"{where}.substrings: pydivsufsort is missing: pip install 'redpajama[substrings]'")
    _check_near(manifest, path)


def complete(manifest: Manifest) -> Manifest:
    """The manifest with the quality rules that options bring along, under those of its own `[source.quality]`.

    Raises:
        ManifestError: together, they would keep nothing.
    """
    sources = []
    for number, source in enumerate(manifest.source, 1):
        module = pipeline(source.pipeline)
        brought = getattr(module, "quality_rules", lambda options: {})(module.Options(**source.options))
        try:
            rules.parse(brought | source.quality)
        except ValueError as error:
            raise ManifestError(f"source[{number}]: {error}") from None
        sources.append(source.model_copy(update={"quality": brought | source.quality}))
    return manifest.model_copy(update={"source": sources})


def _check_near(manifest: Manifest, path: str) -> None:
    try:
        if manifest.dedup.near is not None:
            policy.check(manifest, minhash.parse(manifest.dedup.near), list(signals.SIGNALS))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(["dedup.near", *map(str, problem["loc"])])
        raise ManifestError(f"{path}: {key}: {problem['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise ManifestError(f"{path}: dedup.near: {error}") from None


def _check_source(source: Source) -> None:
    module = pipeline(source.pipeline)
    module.Options(**source.options)
    rules.parse(source.quality)
    annotations.check(source)
    if source.language:
        language.check(source)
    if source.perplexity:
        perplexity.check(source)
    if source.dump and source.pipeline != "common_crawl":
        raise ValueError(f"dump: a dump of CommonCrawl goes with pipeline = 'common_crawl', not '{source.pipeline}'")
    if refusal := getattr(module, "check_inputs", lambda urls: None)(source.inputs):
        raise ValueError(refusal)


def _check_tokens(source: Source, manifest: Manifest) -> None:
    if annotations.wants_tokens(source) and not (manifest.tokenizer and manifest.tokenizer.path):
        raise ValueError("signals: the set 'tokens' is measured before any document goes: give tokenizer.path")


def list_inputs(
    manifest: Manifest, path: str, mirrors: dict[str, str], unavailable: list[dict[str, str]] | None = None
) -> list[dict[str, Any]]:
    """Every raw file of the manifest: source, the fields of `io.Listed`, and the SHA-256 it must have ("" = any).

    Args:
        unavailable: if given, what is not to be had is put there: source, input, state, and what the host said.

    Raises:
        ManifestError: a pattern matches nothing, an expected SHA-256 names no file, or the tokenizer is none.
    """
    listed = []
    for number, source in enumerate(manifest.source, 1):
        lost: Lost | None = None if unavailable is None else []
        try:
            files = _files_of(source, manifest, mirrors, lost)
        except io.InputError as error:
            raise ManifestError(f"{path}: source[{number}].{'dump' if source.dump else 'inputs'}: {error}") from None
        unknown = sorted(source.sha256.keys() - {file.url for file in files})
        if unknown and not lost:
            raise ManifestError(f"{path}: source[{number}].sha256: no input is called '{unknown[0]}'")
        listed += [_entry(source.name, file, source.sha256.get(file.url, "")) for file in files]
        _note(source.name, lost, unavailable)
    for name, key, url in side_files(manifest):
        lost = None if unavailable is None else []
        try:
            files = io.expand([url], mirrors, manifest.folder, unavailable=lost)
            if files and not io.scheme_of(files[0].path):  # here, so it can be looked at now
                _check_side_file(manifest, name, files[0].path)
        except (io.InputError, encode.TokenizerError, models.ModelError) as error:
            raise ManifestError(f"{path}: {key}: {error}") from None
        listed += [_entry(name, file, "") for file in files]
        _note(name, lost, unavailable)
    return listed


def _files_of(source: Source, manifest: Manifest, mirrors: dict[str, str], lost: Lost | None) -> list[io.Listed]:
    if source.dump:
        return dumps.expand(source.dump, manifest.seed, mirrors, manifest.folder, lost)
    pays = source.requester_pays
    return io.expand(source.inputs, mirrors, manifest.folder, requester_pays=pays, unavailable=lost)


def _note(source: str, lost: Lost | None, unavailable: list[dict[str, str]] | None) -> None:
    for name, error in lost or []:
        unavailable.append({"source": source, "input": name, "state": error.state, "said": str(error)})


def _check_side_file(manifest: Manifest, name: str, path: str) -> None:
    if name == tokenizer.INPUT:
        encode.load(path, manifest.tokenizer.end_of_document)
    elif check := MODEL_CHECKS.get(name[name.rindex(".") :]):
        check(models.ModelFile(path, path, ""))


def side_files(manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """(name among the inputs, key in the manifest, URL) of files that are no raw input: metadata, models, tokenizer."""
    for number, source in enumerate(manifest.source, 1):
        for field in documents.side_fields(source):
            yield f"{source.name}.{field}", f"source[{number}].options.{field}", source.options[field]
        if source.clean and source.clean.bad_words:
            yield f"{source.name}.{cleaning.INPUT}", f"source[{number}].clean.bad_words", source.clean.bad_words
        for place, pattern in enumerate(blocklist.patterns(source.blocklist) if source.blocklist else []):
            yield f"{source.name}.{blocklist.INPUT}.{place}", f"source[{number}].blocklist.lists", pattern
        for field in annotations.LIST_FIELDS:
            if url := getattr(source, field):
                yield f"{source.name}.{field}", f"source[{number}].{field}", url
    yield from models.side_files(manifest)
    if manifest.tokenizer and (url := manifest.tokenizer.path):
        whole = url if url.endswith(".json") else f"{url.rstrip('/')}/tokenizer.json"
        yield tokenizer.INPUT, "tokenizer.path", whole


def _entry(source: str, file: io.Listed, sha256: str) -> dict[str, Any]:
    return {"source": source, **asdict(file), "sha256": sha256}


# ---- the build


def build(
    manifest: Manifest,
    listed: list[dict[str, Any]],
    root: str,
    arguments: list[str],
    *,
    until: str = "tokens",
    rehash: bool = False,
    shares: int = 1,
    group_by_key: bool = False,
    watch: Callable[[Job, Callable[[], bool]], Any] = lambda job, finished: None,
) -> dict[str, Any]:
    """Run the flow and write `builds/<name>.json`; returns that record.

    Args:
        shares: as in `beam.run`.
        watch: called with the job and a function that is true once it is over: shows progress, guards the workers.

    Raises:
        BuildFailed: the data failed a promise. RootBusy: another build holds ROOT.
    """
    from redpajama import beam

    with workers.hold_root(root) as (run, claims):
        job = Job(manifest, Store(root).url, run, claims=claims if shares else "")
        if rehash:
            job.store.remove("inputs")
        job.store.write(f".tmp/{run}/listed.json", canonical_json(listed))
        over: list[bool] = []
        watch(replace(job, claims=claims), lambda: bool(over))
        try:
            state = beam.run(job, flow(manifest, until), arguments, shares, group_by_key)
        finally:
            over.append(True)
        if "failed" in state:
            raise BuildFailed(state["failed"])
        return commit_build(Build(job, state["records"]), until)


def commit_build(build: Build, until: str) -> dict[str, Any]:
    """Write the record that makes the stage records one build."""
    scratch = {step.stage for step in flow(build.manifest) if step.scratch}
    named = {stage: keys for stage, keys in build.records.items() if stage not in scratch and "-split" not in stage}
    stages = {
        stage: {name: {"record": key, "sha256": read_stage(build.store, key).sha256} for name, key in keys.items()}
        for stage, keys in named.items()
    }
    manifest = build.manifest.model_dump(mode="json")
    body = {"manifest": manifest, "until": until, "stages": stages, "corpus": corpus_hash(build, until)}
    record = {**body, "sha256": sha256_of([canonical_json(body)])}
    crash_point("before-build-record")
    build.store.write(f"builds/{build.manifest.name}.json", canonical_json(record))
    crash_point("after-build-record")
    return record


def corpus_hash(build: Build, until: str) -> str:
    """SHA-256 over the names and SHA-256s of the last stage's files: one line that says two corpora are equal."""
    last = flow(build.manifest, until)[-1].stage
    files = sorted((key.rpartition("/")[2], out["sha256"]) for p in build.parts(last) for key, out in p.outputs.items())
    return sha256_of(f"{sha}  {name}\n".encode() for name, sha in files)
