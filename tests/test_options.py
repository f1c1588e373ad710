"""What is refused before any work: options, end points, folders that workers elsewhere do not see, too many workers."""

import os
import re
import socket
import time

import pytest
from corpora import cli, write_corpus

from redpajama.commands import build as command
from redpajama.engine import beam, options, reach
from redpajama.errors import UserError

PORTABLE = ["--runner=PortableRunner", "--job_endpoint=localhost:1"]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["--direct_num_wokers=2"], "Beam has no such option; did you mean --direct_num_workers?"),
        (["--nonsense"], "--nonsense: Beam has no such option"),
        (["--nonsense=3", "--temp_location=x"], "--nonsense: Beam has no such option"),
        (["word"], "'word': a stray word"),
        (["--temp_location=x", "word"], "'word': a stray word"),
        (["--runner=NoRunner"], "Beam says: "),
        (["--direct_num_workers=two"], "Beam says: "),
        (["--runner=PortableRunner", "--job_endpoint=nowhere"], "wanted HOST:PORT"),
        (PORTABLE, "nobody answers at localhost:1"),
    ],
)
def test_options_that_cannot_be_right_are_refused_in_one_line(asked, wanted):
    with pytest.raises(UserError) as told:
        beam.beam_arguments(1, asked)
    assert wanted in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "asked",
    [
        ["--temp_location", "x"],
        ["--direct_runner_bundle_repeat=1"],
        ["--experiments=a", "--experiments=b"],
        ["--streaming"],
    ],
)
def test_options_that_beam_knows_pass(asked):
    assert beam.beam_arguments(1, asked)[-len(asked) :] == asked


@pytest.mark.parametrize("is_silent", [True, False])
def test_an_end_point_that_is_no_job_service_is_one_line_within_ten_seconds(tmp_path, is_silent):
    manifest = write_corpus(tmp_path / "c")
    with socket.socket() as server:
        server.bind(("localhost", 0))
        if is_silent:
            server.listen()
        port = server.getsockname()[1]
        started = time.monotonic()
        arguments = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
        result = cli("build", manifest, "--out", tmp_path / "r", "--", *arguments)
        assert time.monotonic() - started < 15
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no job service of Beam" in result.stderr or "nobody answers at" in result.stderr


def is_refused(arguments, root, inputs=()) -> bool:
    try:
        options.check_places(options.PipelineOptions(arguments), root, inputs)
    except UserError as error:
        return "--shared-files" in str(error)
    return False


FLINK = ["--runner=PortableRunner", "--job_endpoint=flink:8099", "--environment_type=EXTERNAL"]


@pytest.mark.parametrize("address", ["host:8786", "8786", "tcp://host", "tcp://host:port", "tcp://:8786", "tcp://[::1"])
def test_a_scheduler_of_dask_that_is_no_address_is_one_line(address):
    with pytest.raises(UserError, match=rf"^--dask_client_address={re.escape(address)}: wanted tcp://HOST:PORT$"):
        reach.check_scheduler(address)


@pytest.mark.parametrize(
    ("variables", "is_asked"),
    [
        ({}, True),
        ({"http_proxy": "http://p:1"}, False),
        ({"HTTP_PROXY": "http://p:1"}, False),
        ({"https_proxy": "http://p:1"}, True),
        ({"http_proxy": "http://p:1", "no_proxy": "store.example"}, True),
    ],
)
def test_a_store_behind_a_proxy_is_not_asked_whether_it_answers(monkeypatch, variables, is_asked):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in {**variables, "AWS_ENDPOINT_URL": "http://store.example:9000"}.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(reach, "check_address", lambda *where: asked.append(where))
    reach.check_store("s3://bucket/r")
    assert asked == ([("store.example", 9000, "s3://bucket/r: AWS_ENDPOINT_URL")] if is_asked else [])


def test_a_folder_of_this_machine_is_refused_where_workers_run_elsewhere():
    assert is_refused(FLINK, "/data/r")
    assert is_refused(FLINK, "file:///data/r")
    assert is_refused(FLINK, "s3://b/r", ["s3://b/x", "/data/x"])
    assert not is_refused(FLINK, "s3://b/r", ["s3://b/x", "https://h/x"])
    assert not is_refused([*FLINK, "--environment_type=LOOPBACK"], "/data/r")
    assert not is_refused([f"--runner={beam.FN_API_RUNNER}"], "/data/r", ["/data/x"])
    here = ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--environment_config=localhost:50111"]
    assert not is_refused(here, "/data/r")
    assert is_refused(["--runner=DataflowRunner"], "r")


def test_more_workers_than_cores_or_parts_are_capped_and_that_is_said(capsys):
    cores = os.cpu_count()
    assert command.worker_count("9999", 0) == cores
    assert f"--workers 9,999: this machine has {cores:,} core(s): " in capsys.readouterr().err
    assert command.worker_count("2", 0, 1) == 1
    assert "there are about 1 part(s) to read" in capsys.readouterr().err or cores == 1
    assert command.worker_count("1", 0, 5) == 1
    assert command.worker_count("auto", 0, 1) == 1
    assert capsys.readouterr().err == ""


def test_parts_that_are_too_small_are_refused_with_the_least_size(tmp_path):
    manifest = write_corpus(tmp_path / "c")
    text = manifest.read_text()
    manifest.write_text(text.replace('pipeline = "c4"', 'pipeline = "c4"\npart_bytes = 255', 1))
    result = cli("build", manifest, "--out", tmp_path / "r")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "source[1].part_bytes" in result.stderr
    from types import SimpleNamespace

    model = SimpleNamespace(readers=[SimpleNamespace(name="web", part_bytes=256)])
    with pytest.raises(UserError, match=r"would make 3,906,250,\d\d\d parts .* give 100,001"):
        command._about_parts(model, [{"source": "web", "bytes": 10**12, "about_bytes": 0}])
