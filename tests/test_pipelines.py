"""What each source says of itself, and how a manifest is completed by it."""

from dataclasses import replace

import pytest

from redpajama.manifest import parse
from redpajama.pipelines import SOURCES, pipeline
from redpajama.preflight import complete

WEB = ("common_crawl", "c4")
CODE = ("github", "the_stack")


def manifest_of(name, **keys):
    """A manifest of one source, completed."""
    source = {"name": "x", "pipeline": name, "inputs": ["x"], **keys}
    return complete(parse({"name": "x", "seed": 1, "source": [source]}, "x.toml"))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_called_as_in_the_table_and_its_side_files_are_options(name):
    reader = pipeline(name)
    assert reader.name == name
    assert set(reader.side_files) <= reader.options.model_fields.keys()


def test_a_misspelt_hook_is_an_error():
    with pytest.raises(TypeError, match="cutz"):
        replace(pipeline("c4"), cutz=pipeline("c4").cuts)


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_manifest_does_not_say_of_texts_its_pipeline_does(name):
    [source] = manifest_of(name).source
    assert source.kind == ("code" if name in CODE else "prose")
    assert source.max_removed_fraction == (0.9 if name in WEB else 0.5)


def test_what_a_manifest_says_of_texts_stays():
    [source] = manifest_of("github", kind="tables", max_removed_fraction=0).source
    assert (source.kind, source.max_removed_fraction) == ("tables", 0)


def test_completing_twice_changes_nothing():
    manifest = manifest_of("the_stack", options={"filters": "starcoder"}, quality={"min_alnum_fraction": 0.5})
    assert manifest.source[0].quality["min_alnum_fraction"] == 0.5
    assert complete(manifest) == manifest
