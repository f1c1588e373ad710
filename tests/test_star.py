"""Large-star and small-star find the clusters that union-find finds, in few rounds, to the same bytes."""

import random

import numpy as np
import pytest
from corpora import build
from hypothesis import given, settings
from hypothesis import strategies as st
from near_corpora import families, verdicts_of, write_sources
from stepwise import build_stepwise

from redpajama.dedup.near import clusters, star, union_find
from redpajama.engine.store import Store
from redpajama.errors import BuildFailed
from redpajama.manifest import ManifestError, parse
from redpajama.preflight import check
from redpajama.report.verify import verify


def rounds(edges):
    """(edges of the fixed point, rounds until it was seen) of {(smaller, larger), ...}, as the stages go."""
    ones, others = (np.array([edge[side] for edge in sorted(edges)], np.int64) for side in (0, 1))
    for number in range(1, 100):
        (ones, others), unsettled = star.large_star(np.append(ones, others), np.append(others, ones))
        if not unsettled:
            return set(zip(ones.tolist(), others.tolist(), strict=True)), number
        ones, others = star.small_star(others, ones)
    raise AssertionError("no fixed point")


def united(edges, count):
    """What union-find says: {(root, other member), ...}."""
    parents = union_find.singletons(count)
    union_find.unite(parents, *(np.array([edge[side] for edge in sorted(edges)], np.int64) for side in (0, 1)))
    union_find.measure(parents)
    return {(root, node) for node, root in enumerate(parents.tolist()) if root != node}


def relabelled(edges, count, seed):
    """The same graph with its nodes renamed at random."""
    names = random.Random(seed).sample(range(count), count)
    return {tuple(sorted((names[one], names[other]))) for one, other in edges}


PAIRS = st.tuples(st.integers(0, 39), st.integers(0, 39)).filter(lambda pair: pair[0] < pair[1])


@settings(deadline=None)
@given(st.sets(PAIRS, max_size=60))
def test_any_graph_ends_in_the_stars_of_union_find(edges):
    assert rounds(edges)[0] == united(edges, 40)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["chain", "star", "sparse", "stars in a chain"])
def test_graphs_of_thousands_of_nodes_end_within_the_rounds_of_the_graph(shape, seed):
    count, draw = 20_000, random.Random(seed)
    edges = {
        "chain": {(node, node + 1) for node in range(200)},
        "star": {(0, node) for node in range(1, count)},
        "sparse": {tuple(sorted(draw.sample(range(count), 2))) for _ in range(count)},
        "stars in a chain": {(node // 50 * 50, node) for node in range(1, count) if node % 50}
        | {(50 * hub, 50 * hub + 50) for hub in range(100)},
    }[shape]
    edges = relabelled(edges, count, seed)
    found, number = rounds(edges)
    assert found == united(edges, count)
    assert number <= star.ROUNDS


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """One corpus, two ways to find its clusters."""
    folder = tmp_path_factory.mktemp("star")
    texts = families(11, count=60)
    path = write_sources(folder / "raw", {"books": texts[::2], "web": texts[1::2] + texts[:20:2]}, files=3)
    other = path.with_name("star.toml")
    other.write_text(path.read_text().replace("[dedup]", '[dedup]\ncomponents = "star"'))
    return path, other


def contents(state, *stages):
    """The SHA-256 of each file that stages wrote; of homes, whose names tell how they came there, in order."""
    return [
        (stage, output["sha256"])
        for stage in stages
        for record in state.parts(stage)
        for output in record.outputs.values()
    ]


def test_both_ways_write_the_same_bytes_in_many_partitions_too(manifests, tmp_path, monkeypatch):
    one = build_stepwise(manifests[0], tmp_path / "one")
    other = build_stepwise(manifests[1], tmp_path / "other")
    assert len(verdicts_of(one)) > 30
    assert contents(other, "clusters-homes", "near") == contents(one, "clusters-homes", "near")
    last = [stage for stage in star._stages() if other.records.get(stage)][-1]
    assert other.stage(last)["all"].counts["unsettled"] == 0
    assert last != star._stages()[-1]  # the rounds after the fixed point have no parts
    assert other.records[star._stages()[-1]] == {}
    monkeypatch.setattr(star, "EDGE_ROWS", 20)
    many = build_stepwise(manifests[1], tmp_path / "many")
    assert len(many.parts("components")) > 3
    assert contents(many, "clusters-homes", "near") == contents(one, "clusters-homes", "near")


def test_two_workers_give_the_same_bytes(manifests, tmp_path):
    one = build(manifests[1], tmp_path / "one", "--workers", 1)
    assert build(manifests[1], tmp_path / "two", "--workers", 2) == one
    findings = verify(Store(str(tmp_path / "one")), ["near"])
    assert (findings.problems, findings.strangers) == ([], [])


def test_no_fixed_point_in_the_rounds_of_the_graph_fails_by_name(manifests, tmp_path, monkeypatch):
    monkeypatch.setattr(star, "_settled", lambda build, stage: False)
    real = star.large_star
    monkeypatch.setattr(star, "large_star", lambda *rows: (real(*rows)[0], 3))
    with pytest.raises(
        BuildFailed, match=r"documents have no cluster after 8 rounds .* dedup.components to 'union-find'"
    ):
        build_stepwise(manifests[1], tmp_path / "root")


def test_more_documents_than_union_find_is_meant_for_fail_by_name(manifests, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "UNION_FIND_DOCUMENTS", 100)
    with pytest.raises(BuildFailed, match=r"clusters of \d+ documents need .* set dedup.components to 'star'"):
        build_stepwise(manifests[0], tmp_path / "root")


def test_a_wrong_way_is_one_line():
    values = {"name": "x", "seed": 1, "source": [{"name": "web", "pipeline": "c4", "inputs": ["x"]}]}
    with pytest.raises(ManifestError, match=r"dedup.components: Input should be 'auto', 'union-find' or 'star'"):
        check(parse({**values, "dedup": {"components": "stars"}}, "x.toml"), "x.toml")
