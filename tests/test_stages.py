"""What stages declare: one file each, which stages they read, and that every version stands in a fingerprint."""

import gzip
import importlib
import json
import pkgutil
from dataclasses import replace

import pytest
from stepwise import build_stepwise

import redpajama
from redpajama.dedup.near import star
from redpajama.engine.runner import turns
from redpajama.engine.shapes import Stage, nothing
from redpajama.engine.stages import OF_PYTHON, REMOVED, Build, Job, Undeclared, fingerprint
from redpajama.flow import flow
from redpajama.manifest import Source, parse
from redpajama.pipelines import SOURCES, documents, pipeline
from redpajama.tokenize import tokenizer

FAMILIES = {  # modules that declare other stages than one of their name
    "redpajama.dedup.exact": {"identity", "exact"},
    "redpajama.dedup.near.candidates": {"candidates-near"},  # the mixture has candidates, too
    "redpajama.dedup.near.star": {stage.name for stage in star.STAGES},  # rounds, and what they come to
    "redpajama.mixers.budget": {"budget"},
    "redpajama.pipelines.documents": {"read", "extracted", "documents"},
    "redpajama.quality.judge": {"quality"},
    "redpajama.tokenize.tokenizer": {"sample", "tokenizer"},
}
EVERYTHING = {
    "name": "everything",
    "seed": 1,
    "tokenizer": {"path": "tokenizer.json"},
    "source": [
        {
            "name": "web",
            "pipeline": "c4",
            "inputs": ["web.json.gz"],
            "kind": "prose",
            "paragraphs": {},
            "clean": {"c4_lines": True},
            "signals": "all",
            "language": {},
            "substrings": {"min_bytes": 100},
        },
        {"name": "wiki", "pipeline": "wikipedia", "inputs": ["wiki.xml.bz2"], "kind": "prose"},
        {"name": "part", "reading": "raw", "kind": "prose"},
    ],
    "reading": [{"name": "raw", "pipeline": "c4", "inputs": ["raw.json.gz"]}],
    "classifier": [{"name": "cited", "positive": "web", "cited_by": "wiki", "negative": "web"}],
    "dedup": {"near": {"verify": "sketch", "keep": "none"}, "components": "star"},
    "mixture": {
        "budget_tokens": 1,
        "slice": [{"source": name, "weight": 1} for name in ("web", "wiki", "part")],
    },
}
FLOW = flow(parse(EVERYTHING, "everything.toml"), withdraws=True)
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(redpajama.__path__, "redpajama.")
    if not found.name.endswith("__main__")
]


def declared() -> dict[str, list[Stage]]:
    """{module: the stages that stand in it}"""
    found = {}
    for module in MODULES:
        values = [each for value in vars(module).values() for each in (value if isinstance(value, list) else [value])]
        if stages := {id(each): each for each in values if isinstance(each, Stage)}:
            found[module.__name__] = list(stages.values())
    return found


DECLARED = declared()
STAGES = [stage for stages in DECLARED.values() for stage in stages]


@pytest.mark.parametrize("module", sorted(DECLARED))
def test_a_file_declares_one_stage_and_bears_its_name(module):
    names = {stage.name for stage in DECLARED[module]}
    assert names == FAMILIES.get(module, {module.rpartition(".")[2]})


def test_a_stage_is_declared_once_and_some_flow_has_it():
    trained = {stage.name for stage in tokenizer.TRAINED}  # after dedup; the given one comes first
    assert {stage.name for stage in STAGES} == {stage.name for stage in FLOW} | trained
    assert len(STAGES) == len(FLOW) + len(trained)
    assert len({stage.name for stage in FLOW}) == len(FLOW)


def test_a_stage_reads_only_what_stands_before_it():
    before: set[str] = set()
    for stage in FLOW:
        assert set(stage.after) - {REMOVED} <= before, stage.name
        before.add(stage.name)


def test_a_read_that_is_not_declared_is_refused(tmp_path):
    job = Job(parse(EVERYTHING, "everything.toml"), str(tmp_path))
    build = Build(job, {"scores": {"web": "key"}, "quality": {}}, (), "signals", frozenset({"quality"}))
    assert build.names("quality") == {}
    with pytest.raises(Undeclared, match="'signals' reads 'scores'"):
        build.names("scores")


# ---- versions


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_another_version_of_a_stage_is_another_fingerprint(stage, tmp_path):
    build = Build(Job(parse(EVERYTHING, "everything.toml"), str(tmp_path)), {})
    first, same, other = (replace(stage, depends=nothing, version=stage.version + more) for more in (0, 0, 1))
    one, again, another = (fingerprint(each.parameters(build, "web")) for each in (first, same, other))
    assert one == again != another


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_another_version_of_a_pipeline_is_another_reading(name, monkeypatch):
    source = Source(name="s", pipeline=name, inputs=["x"])
    first, reader = documents.reading(source, {}, {}), pipeline(name)
    monkeypatch.setattr(documents, "pipeline", lambda name: replace(reader, version=reader.version + 1))
    assert documents.reading(source, {}, {}) != first


OWN_VERSIONS = {  # of what several stages share
    "redpajama.engine.homes",
    "redpajama.quality.blocklist",
    "redpajama.quality.cleaning",
    "redpajama.quality.pii",
}
FORMATS = {
    f"redpajama.exports.{name}" for name in ("megatron", "llmc", "nanogpt")
}  # versions of formats that others made: they stand in the files
WISHES = """
name = "wishes"
seed = 1
[[source]]
name = "web"
pipeline = "c4"
inputs = ["web.json.gz"]
substrings = { min_bytes = 100 }
[source.clean]
pii = true
[source.blocklist]
lists = ["ads.txt"]
"""


@pytest.fixture(scope="module")
def wishes(tmp_path_factory):
    """A build that uses all that has a version of its own."""
    folder = tmp_path_factory.mktemp("wishes")
    (folder / "wishes.toml").write_text(WISHES)
    (folder / "ads.txt").write_text("ads.example\n")
    rows = [{"text": f"The page of number {n}.", "url": f"https://{n}.example/", "timestamp": "t"} for n in range(3)]
    (folder / "web.json.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return build_stepwise(folder / "wishes.toml", folder / "root")


def stamps(build: Build) -> dict[tuple[str, str], str]:
    """{(step, name): the fingerprint that it is planned with}"""
    state = {"records": build.records}
    flowing = turns(build.job, flow(build.manifest, "dedup"))
    planned = {turn.step.stage: turn.step.plan(turn.build(state)) for turn in flowing}
    return {(stage, each.name): each.stamp for stage, found in planned.items() for each in found}


def test_only_known_modules_have_a_version_of_their_own():
    assert {module.__name__ for module in MODULES if hasattr(module, "VERSION")} == OWN_VERSIONS | FORMATS


@pytest.mark.parametrize("module", sorted(OWN_VERSIONS))
def test_another_version_of_what_stages_share_is_another_stamp(module, wishes, monkeypatch):
    first, owner = stamps(wishes), importlib.import_module(module)
    assert stamps(wishes) == first
    monkeypatch.setattr(owner, "VERSION", owner.VERSION + 1)
    assert stamps(wishes) != first


@pytest.mark.parametrize("library", sorted(OF_PYTHON))
@pytest.mark.parametrize("stage", ["extracted", "documents"])
def test_texts_name_the_unicode_tables_and_the_zlib_that_came_with_python(monkeypatch, stage, library):
    """`str`, `re` and `unicodedata` are everywhere in the pipelines; the demo's hash says that few texts show it."""
    declared = next(each for each in FLOW if each.name == stage)
    monkeypatch.setitem(OF_PYTHON, library, "another")
    assert declared.declared["libraries"][library] == "another"


@pytest.mark.parametrize("stage", ["signals", "quality"])
def test_signals_and_verdicts_on_addresses_name_the_unicode_tables(monkeypatch, stage):
    monkeypatch.setitem(OF_PYTHON, "unicode", "another")
    assert next(each for each in FLOW if each.name == stage).declared["libraries"]["unicode"] == "another"
