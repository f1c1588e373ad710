"""`sample` of a source: raw parts by hash, a larger share with all parts of a smaller one, never none."""

import json

import pytest
from corpora import write_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from redpajama import cli
from redpajama.manifest import Source
from redpajama.pipelines import sample
from redpajama.raw.io import Listed

MANIFEST = """
name = "few"
seed = 3
[[source]]
name = "news"
pipeline = "c4"
inputs = ["part-*.json.gz", "long.jsonl"]
part_bytes = 2000
sample = {share}
"""


def source(share, **more) -> Source:
    return Source(name="a", pipeline="c4", inputs=["x"], part_bytes=1000, sample=share, **more)


def files(count: int, size: int) -> list[Listed]:
    return [Listed(f"{number}.json.gz", f"/{number}", size, "e") for number in range(count)]


def ranges(chosen: list[Listed], size: int) -> list[dict]:
    places = [(file, start) for file in chosen for start in range(0, size, 1000)]
    return [{"url": file.url, "tree": "", "start": start, "end": start + 1000} for file, start in places]


@given(st.integers(1, 40), st.integers(1, 5000), st.floats(0.001, 0.5), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_larger_share_has_the_parts_of_a_smaller_one_and_none_is_empty(count, size, share, seed):
    found = []
    for part in (share, 2 * share, 1):
        chosen = sample.chosen_files(files(count, size), source(part), seed)
        found.append(
            {(each["url"], each["start"]) for each in sample.chosen_ranges(ranges(chosen, size), source(part), seed)}
        )
    assert found[0]
    assert found[0] <= found[1] <= found[2]
    assert len(found[2]) == count * -(-size // 1000)


def test_the_share_of_the_parts_is_the_one_that_is_asked_for():
    chosen = sample.chosen_files(files(2000, 4000), source(0.1), 1)
    kept = sample.chosen_ranges(ranges(chosen, 4000), source(0.1), 1)
    assert len(kept) == pytest.approx(800, rel=0.1)
    assert len(chosen) == pytest.approx(2000 * (1 - 0.9**4), rel=0.1)


def test_a_directory_is_drawn_as_a_whole():
    tree = [Listed(f"repo/{n}.py", f"/{n}", 10, "e", tree="repo/") for n in range(50)]
    assert sample.chosen_files(tree, Source(name="a", pipeline="github", inputs=["x"], sample=0.01), 1) == tree


def test_a_build_reads_the_drawn_parts_alone_and_reports_say_that_dedup_rates_do_not_scale(tmp_path, capfd):
    for number in range(10):
        write_rows(tmp_path / f"part-{number}.json.gz", 20 * number, 20)
    rows = [json.dumps({"text": f"Row {n} of many.", "url": f"http://a/{n}", "timestamp": "t"}) for n in range(200)]
    (tmp_path / "long.jsonl").write_text("\n".join(rows) + "\n")
    counts = {}
    for share in (0.3, 1):
        (tmp_path / "m.toml").write_text(MANIFEST.format(share=share))
        root = str(tmp_path / f"r{share}")
        build = ["build", str(tmp_path / "m.toml"), "--out", root, "--until", "dedup", "--workers", "1"]
        assert not cli.run(build), capfd.readouterr().err
        counts[share] = json.loads(_said(["status", root, "--json"], capfd))
    assert counts[1]["sources"][0]["documents"] == 400
    assert 0 < counts[0.3]["sources"][0]["documents"] < 250
    assert counts[0.3]["samples"] == {"news": 0.3}
    assert "dedup rates do not scale" in _said(["status", str(tmp_path / "r0.3")], capfd)


def _said(arguments, capfd) -> str:
    capfd.readouterr()
    assert cli.run(arguments) == 0
    return capfd.readouterr().out
