"""Builds into an object store, and from object stores, the web, the hub and a mirror of the web."""

import hashlib
import json
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from corpora import MANIFEST, OUTSIDE, build, cli, write_corpus, write_manifest, write_rows
from fake_hub import Hub, Web, serve
from moto.server import ThreadedMotoServer

AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
HERE = {"NO_PROXY": "127.0.0.1,localhost"}
ONE = ("--workers", 1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def reference(manifest, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The build from local files to a local folder: (ROOT, digest)."""
    root = tmp_path_factory.mktemp("reference") / "corpus"
    return root, build(manifest, root, *ONE)


@pytest.fixture(scope="module")
def s3():
    """(client, environment for the command line) of an S3 server on this machine with an empty `bucket`."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_bucket(Bucket="bucket")
    yield client, {**AWS, **HERE, "AWS_ENDPOINT_URL": url}
    server.stop()


def objects(client, prefix: str) -> dict[str, bytes]:
    """{key below the prefix: bytes} of the bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key[len(prefix) + 1 :]: client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}


def outputs(client, prefix: str) -> dict[str, str]:
    """{key: SHA-256} of what a build in the bucket has put out."""
    found = objects(client, prefix)
    return {k: hashlib.sha256(v).hexdigest() for k, v in sorted(found.items()) if k.split("/")[0] not in OUTSIDE}


def run(*arguments: object, **environment: str) -> str:
    """The standard output of a command line that must succeed."""
    result = cli(*arguments, **{**HERE, **environment})
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def documents(root: Path) -> list[tuple[str, str, str]]:
    """(doc_id, text, meta) of every document, in sorted order."""
    rows = []
    for path in root.glob("documents/*/part-*.parquet"):
        table = pq.read_table(path, columns=["doc_id", "text", "meta"])
        rows += zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return sorted(rows)


def input_urls(root: Path) -> set[str]:
    """The URLs of all raw files, as the records of the documents have them."""
    records = [json.loads(path.read_bytes()) for path in root.glob("documents/*/part-*.json")]
    return {file["url"] for record in records for file in record["inputs"]}


def raw_files(manifest: Path, prefix: str = "") -> dict[str, bytes]:
    """{prefix + name: bytes} of the corpus's raw files."""
    return {f"{prefix}{path.name}": path.read_bytes() for path in sorted(manifest.parent.glob("*.gz"))}


def manifest_of(folder: Path, news: list[str], web: list[str]) -> Path:
    """The same corpus with its inputs elsewhere."""
    path = write_manifest(folder, news=json.dumps(news))
    path.write_text(path.read_text().replace('["web-*.json.gz"]', json.dumps(web)))
    return path


def manifest_at(folder: Path, manifest: Path, prefix: str) -> Path:
    """The same corpus, each file by its URL."""
    urls = [prefix + name for name in raw_files(manifest)]
    return manifest_of(folder, [u for u in urls if "/news-" in u], [u for u in urls if "/web-" in u])


# ---- ROOT in an object store


@pytest.fixture(scope="module")
def in_bucket(manifest, reference, s3, tmp_path_factory) -> str:
    """A ROOT in the bucket whose build was killed in the middle of a commit, and then went on."""
    client, environment = s3
    count = tmp_path_factory.mktemp("count") / "count"
    crash = {"REDPAJAMA_CRASH": "before-part-record:20", "REDPAJAMA_CRASH_COUNT": str(count)}
    root = "s3://bucket/corpus"
    assert cli("build", manifest, "--out", root, *ONE, **environment, **crash).returncode == -signal.SIGKILL
    before = outputs(client, "corpus")
    assert any("/part-" in key and key.endswith(".json") for key in before)
    assert not any(key.startswith("builds/") for key in before)
    run("build", manifest, "--out", root, *ONE, **environment)
    assert before.items() <= outputs(client, "corpus").items()
    return root


def test_a_build_killed_in_a_bucket_goes_on_to_the_bytes_of_a_local_build(in_bucket, reference, s3):
    assert outputs(s3[0], "corpus") == reference[1]


def test_two_workers_build_the_same_bytes_in_a_bucket(manifest, reference, s3):
    run("build", manifest, "--out", "s3://bucket/two/workers", "--workers", 2, **s3[1])
    assert outputs(s3[0], "two/workers") == reference[1]
    assert not [key for key in objects(s3[0], "two/workers") if key.startswith(".tmp/")]


def test_status_verify_and_why_say_of_a_bucket_what_they_say_of_a_folder(in_bucket, reference, s3):
    for command, *rest in (["status"], ["verify"], ["why", "https://example.org/0"], ["why", "web-1.json.gz"]):
        assert run(command, in_bucket, *rest, **s3[1]) == run(command, reference[0], *rest)


def test_verify_finds_a_flipped_and_a_missing_object_in_a_bucket(in_bucket, s3):
    client, environment = s3
    found = objects(client, "corpus")
    shard = next(key for key in found if key.endswith(".bin") and key.startswith("tokens/"))
    record = next(key for key in found if key.startswith("documents/") and key.endswith(".json"))
    for key in (shard, record):
        client.put_object(Bucket="bucket", Key=f"corpus/{key}", Body=bytes([found[key][0] ^ 1]) + found[key][1:])
        result = cli("verify", in_bucket, **environment)
        assert result.returncode == 1
        assert f"{key}: " in result.stdout
        client.delete_object(Bucket="bucket", Key=f"corpus/{key}")
        result = cli("verify", in_bucket, **environment)
        assert result.returncode == 1
        assert f"{key}: missing" in result.stdout
        client.put_object(Bucket="bucket", Key=f"corpus/{key}", Body=found[key])
    assert cli("verify", in_bucket, **environment).returncode == 0


def test_a_bucket_without_a_build_is_the_users_mistake(s3):
    result = cli("status", "s3://bucket/nothing/here", **s3[1])
    assert (result.returncode, result.stderr) == (2, "redpajama: s3://bucket/nothing/here: no finished build is here\n")


def test_what_a_build_in_a_bucket_downloads_is_kept_in_the_bucket(manifest, reference, s3, tmp_path):
    client, environment = s3
    web = Web(raw_files(manifest))
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        for min_words in ("min_words = 6", "min_words = 9"):
            path.write_text(path.read_text().replace("min_words = 6", min_words))
            run("build", path, "--out", "s3://bucket/web", *ONE, "--until", "dedup", **environment)
            assert len(web.bodies()) == 5
    kept = {key.rpartition("/")[2]: data for key, data in objects(client, "web").items() if "inputs/fetched/" in key}
    assert kept == raw_files(manifest)


# ---- inputs from elsewhere


def test_inputs_in_a_bucket_give_the_documents_of_local_files(manifest, reference, s3, tmp_path):
    client, environment = s3
    for key, data in raw_files(manifest, "raw/v1/").items():
        client.put_object(Bucket="bucket", Key=key, Body=data)
    path = manifest_of(tmp_path, ["s3://bucket/raw/*/news-*.json.gz"], ["s3://bucket/raw/v1/web-?.json.gz"])
    run("build", path, "--out", tmp_path / "r", *ONE, **environment)
    assert documents(tmp_path / "r") == documents(reference[0])
    assert input_urls(tmp_path / "r") == {f"s3://bucket/{key}" for key in raw_files(manifest, "raw/v1/")}


def test_inputs_of_a_web_server_are_downloaded_once(manifest, reference, tmp_path):
    web = Web(raw_files(manifest, "c4/"))
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/c4/")
        run("build", path, "--out", tmp_path / "r", *ONE)
        assert documents(tmp_path / "r") == documents(reference[0])
        assert sorted(each.path for each in web.bodies()) == sorted(web.files)
        first = (tmp_path / "r/builds/small.json").read_bytes()
        run("build", path, "--out", tmp_path / "r", *ONE)
        assert len(web.bodies()) == 5
        assert (tmp_path / "r/builds/small.json").read_bytes() == first
        assert input_urls(tmp_path / "r") == {f"{url}/{name}" for name in web.files}


def test_a_file_that_changed_on_the_server_is_downloaded_again_and_no_other(manifest, tmp_path):
    web = Web(raw_files(manifest))
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        run("build", path, "--out", tmp_path / "r", *ONE, "--until", "documents")
        write_rows(tmp_path / "new.gz", 500, 60)
        web.files["news-1.json.gz"] = (tmp_path / "new.gz").read_bytes()
        run("build", path, "--out", tmp_path / "r", *ONE, "--until", "documents")
    assert [len(web.bodies(name)) for name in sorted(web.files)] == [1, 2, 1, 1, 1]
    assert "https://example.org/500" in str(documents(tmp_path / "r"))


def test_a_server_that_cuts_the_connection_is_asked_for_the_rest(manifest, reference, tmp_path):
    cut = {"news-0.json.gz": 1, "web-0.json.gz": 2}
    web = Web(raw_files(manifest), cuts=dict(cut))
    with serve(web) as url:
        run("build", manifest_at(tmp_path, manifest, f"{url}/"), "--out", tmp_path / "r", *ONE)
    assert documents(tmp_path / "r") == documents(reference[0])
    for name in web.files:
        assert len(web.bodies(name)) == 1 + cut.get(name, 0)


def test_a_build_killed_after_its_downloads_does_not_download_them_again(manifest, tmp_path):
    web = Web(raw_files(manifest))
    crash = {"REDPAJAMA_CRASH": "after-part-record:5", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        arguments = ("build", path, "--out", tmp_path / "r", *ONE, "--until", "documents")
        assert cli(*arguments, **HERE, **crash).returncode == -signal.SIGKILL
        assert len(web.bodies()) == 5
        run(*arguments)
        assert len(web.bodies()) == 5


def test_a_missing_page_is_one_line_before_any_work(manifest, tmp_path):
    with serve(Web({})) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        result = cli("build", path, "--out", tmp_path / "r", **HERE)
    assert result.returncode == 2
    assert result.stderr == f"redpajama: {path}: source[1].inputs: {url}/news-0.json.gz: HTTP 404 Not Found\n"
    assert not (tmp_path / "r").exists()


@contextmanager
def hub_with(manifest: Path):
    """(hub, environment): the corpus as the dataset `org/small`, the CDN a server of its own."""
    files = {**raw_files(manifest, "org/small/en/"), "org/small/README.md": b"# small\n"}
    cdn = Web(dict(files))
    hub = Hub(files, cdn=cdn)
    with serve(cdn), serve(hub) as url:
        yield hub, {"HF_ENDPOINT": url, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_TELEMETRY": "1"}


def test_inputs_on_the_hub_are_downloaded_once_at_the_commit_of_the_listing(manifest, reference, tmp_path):
    with hub_with(manifest) as (hub, environment):
        web = [f"hf://datasets/org/small@main/en/web-{number}.json.gz" for number in range(2)]
        path = manifest_of(tmp_path, ["hf://datasets/org/small/en/news-*.json.gz"], web)
        for _ in range(2):
            run("build", path, "--out", tmp_path / "r", *ONE, **environment)
            assert len(hub.downloads()) == 10  # each is asked for at the hub and found at its CDN
        assert documents(tmp_path / "r") == documents(reference[0])
        news = {f"hf://datasets/org/small@{hub.commit}/en/news-{number}.json.gz" for number in range(3)}
        assert input_urls(tmp_path / "r") == {*news, *web}
        assert {each.path.split("/")[4] for each in hub.downloads() if "/resolve/" in each.path} == {hub.commit}


def test_the_hubs_token_goes_to_the_hub_and_to_no_other_host(manifest, tmp_path):
    with hub_with(manifest) as (hub, environment):
        files = ["hf://datasets/org/small/en/news-*.json.gz"], ["hf://datasets/org/small/en/web-*.json.gz"]
        run("build", manifest_of(tmp_path, *files), "--out", tmp_path / "r", *ONE, "--until", "documents", **environment)
    assert {each.token for each in hub.requests if "/resolve/" in each.path} == {"Bearer hf_secret"}
    assert {each.token for each in hub.cdn.requests} == {""}


def test_a_mirror_is_read_instead_of_the_web_and_the_records_keep_the_urls(manifest, reference, tmp_path):
    mirror = tmp_path / "mnt/c4"
    shutil.copytree(manifest.parent, mirror)
    base = "https://data.example.org/c4/"
    path = manifest_of(tmp_path, [f"{base}news-*.json.gz"], [f"{base}web-*.json.gz"])
    pair = f"https://data.example.org/={mirror.parent}/"
    run("build", path, "--out", tmp_path / "r", *ONE, "--mirror", pair)
    assert documents(tmp_path / "r") == documents(reference[0])
    assert input_urls(tmp_path / "r") == set(raw_files(manifest, base))
    result = cli("build", path, "--out", tmp_path / "none")
    assert result.returncode == 2
    assert "the web has no listing; name each file, or read a copy with --mirror PREFIX=DIR" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_mirror_that_moved_is_read_where_it_is_now(manifest, reference, tmp_path):
    base = "https://data.example.org/"
    path = manifest_of(tmp_path, [f"{base}news-*.json.gz"], [f"{base}web-*.json.gz"])
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(manifest.parent, old)
    build_here = ("build", path, "--out", tmp_path / "r", *ONE, "--until", "documents", "--mirror")
    crash = {"REDPAJAMA_CRASH": "before-part-record:7", "REDPAJAMA_CRASH_COUNT": str(tmp_path / "count")}
    assert cli(*build_here, f"{base}={old}", **crash).returncode == -signal.SIGKILL
    old.rename(new)
    run(*build_here, f"{base}={new}")
    assert documents(tmp_path / "r") == documents(reference[0])


# ---- checksums


def with_sha256(path: Path, url: str, sha256: str) -> Path:
    text = path.read_text()
    path.write_text(text.replace('name = "news"\n', f'name = "news"\nsha256 = {{ "{url}" = "{sha256}" }}\n', 1))
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_wrong_checksum_of_a_local_file_ends_with_status_1_and_one_line(manifest, tmp_path, workers):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    got = hashlib.sha256((folder / "news-1.json.gz").read_bytes()).hexdigest()
    path = with_sha256(folder / "small.toml", "news-1.json.gz", "0" * 64)
    result = cli("build", path, "--out", tmp_path / "r", "--workers", workers)
    assert result.returncode == 1
    assert result.stderr == f"redpajama: news-1.json.gz: has sha256 {got}, wanted {'0' * 64}\n"
    assert not list(tmp_path.glob("r/documents/*/*"))
    run("build", with_sha256(write_manifest(folder), "news-1.json.gz", got), "--out", tmp_path / "r", *ONE)


def test_a_wrong_checksum_of_a_downloaded_file_ends_with_status_1_and_keeps_nothing_of_it(manifest, tmp_path):
    files = raw_files(manifest)
    right = hashlib.sha256(files["news-1.json.gz"]).hexdigest()
    web = Web({**files, "news-1.json.gz": files["news-2.json.gz"]})
    with serve(web) as url:
        path = with_sha256(manifest_at(tmp_path, manifest, f"{url}/"), f"{url}/news-1.json.gz", right)
        arguments = ("build", path, "--out", tmp_path / "r", *ONE, "--until", "documents")
        result = cli(*arguments, **HERE)
        got = hashlib.sha256(files["news-2.json.gz"]).hexdigest()
        assert result.returncode == 1
        assert result.stderr == f"redpajama: {url}/news-1.json.gz: has sha256 {got}, wanted {right}\n"
        web.files["news-1.json.gz"] = files["news-1.json.gz"]
        run(*arguments)


def test_a_checksum_for_no_input_is_the_users_mistake(manifest, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    path = with_sha256(folder / "small.toml", "news-9.json.gz", "0" * 64)
    result = cli("build", path, "--out", tmp_path / "r")
    assert result.returncode == 2
    assert result.stderr == f"redpajama: {path}: source[1].sha256: no input is called 'news-9.json.gz'\n"
