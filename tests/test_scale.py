"""Cost grows as the corpus does: counted opens of small builds whose constants are scaled with their parts."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))
import scaled

BUNDLES = 32  # that a split of so many parts or more is dealt out to


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """{parts: (steps of a build, steps of the same again)}"""
    found = {}
    for parts in (80, 240):  # above 64, where the homes of duplicates are gathered first
        folder = tmp_path_factory.mktemp("scale")
        with scaled.scaled_constants():
            path = scaled.write_corpus(folder / "raw", parts)
            again = folder / "root"
            found[parts] = scaled.counted_build(path, again), scaled.counted_build(path, again)
    return found


def test_three_times_the_parts_open_at_most_3_3_times_as_many_files(builds):
    opens = {parts: scaled.total(steps).opens for parts, (steps, _) in builds.items()}
    filled = next(step.parts for step in builds[80][0] if step.stage == "paragraphs-split")  # by luck of their names
    assert opens[240] <= 3.3 * opens[80] * BUNDLES / filled


def test_a_build_with_nothing_to_do_opens_a_few_files_a_stage(builds):
    for steps, again in builds.values():
        assert sum(step.parts for step in again) == 0
        assert scaled.total(again).opens <= 12 * len(steps)


def test_a_part_opens_one_file_for_each_stage_that_it_asks(builds):
    most = {step.stage: step.most_opens for step in builds[240][0]}
    assert most["quality"] <= 2
    assert most["counts"] <= 4  # documents, tokenizer, its notes and the spans
    assert max(most.values()) <= 1000
