"""Builds into an object store, and from object stores, the web, the hub and a mirror of the web."""

import hashlib
import json
import re
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpora import OUTSIDE, build, cli, write_corpus, write_manifest, write_rows
from fake_hub import HERE, Hub, Web, serve, serve_s3

DEMO = Path(__file__).parents[1] / "manifests" / "demo.toml"
ONE = ("--workers", 1)
DOCUMENTS = (*ONE, "--until", "documents")


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
    with serve_s3() as client_and_environment:
        yield client_and_environment


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


def killed(point: str, folder: Path, *arguments: object, **environment: str) -> None:
    """Run a command line that dies at a crash point (see `artifacts.crash_point`)."""
    crash = {"REDPAJAMA_CRASH": point, "REDPAJAMA_CRASH_COUNT": str(folder / "count")}
    result = cli(*arguments, **{**HERE, **environment, **crash})
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]


def documents(root: Path) -> list[tuple[str, str, str]]:
    """(doc_id, text, meta) of every document, in sorted order."""
    rows = []
    for path in root.glob("documents/*/part-*.parquet"):
        table = pq.read_table(path, columns=["doc_id", "text", "meta"])
        rows += zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return sorted(rows)


def shards(root: Path) -> list[bytes]:
    """The token files, in order."""
    return [path.read_bytes() for path in sorted(root.glob("tokens/*/*.bin"))]


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
    urls = list(raw_files(manifest, prefix))
    return manifest_of(folder, [u for u in urls if "/news-" in u], [u for u in urls if "/web-" in u])


# ---- ROOT in an object store


@pytest.fixture(scope="module")
def in_bucket(manifest, reference, s3, tmp_path_factory) -> str:
    """A ROOT in the bucket; one worker was killed in the middle of a commit, then two went on."""
    client, environment = s3
    root = "s3://bucket/corpus"
    folder = tmp_path_factory.mktemp("count")
    killed("before-part-record:20", folder, "build", manifest, "--out", root, *ONE, **environment)
    before = outputs(client, "corpus")
    assert any("/part-" in key and key.endswith(".json") for key in before)
    assert not any(key.startswith("builds/") for key in before)
    run("build", manifest, "--out", root, "--workers", 2, **environment)
    stays = {key: sha for key, sha in before.items() if "-split/" not in key}  # partition files served their regroup
    assert stays.items() <= outputs(client, "corpus").items()
    return root


def test_a_build_killed_in_a_bucket_goes_on_to_the_bytes_of_a_local_build(in_bucket, reference, s3):
    assert outputs(s3[0], "corpus") == reference[1]


@pytest.mark.parametrize("command", ["status", "verify", "why https://example.org/0", "why web-1.json.gz"])
def test_of_a_bucket_the_commands_say_what_they_say_of_a_folder(in_bucket, reference, s3, command):
    name, *rest = command.split()
    said = run(name, in_bucket, *rest, **s3[1]), run(name, reference[0], *rest)
    there, here = (re.sub(r"(?m)^core-seconds .*\n", "", each) for each in said)  # these were measured
    assert there == here


def test_verify_finds_a_flipped_and_a_missing_object_in_a_bucket(in_bucket, s3):
    client, environment = s3
    found = objects(client, "corpus")
    shard = next(key for key in found if key.endswith(".bin") and key.startswith("tokens/"))
    record = next(key for key in found if key.startswith("documents/") and key.endswith(".json"))
    client.put_object(Bucket="bucket", Key=f"corpus/{shard}", Body=bytes([found[shard][0] ^ 1]) + found[shard][1:])
    client.delete_object(Bucket="bucket", Key=f"corpus/{record}")
    result = cli("verify", in_bucket, **environment)
    for key in (shard, record):
        client.put_object(Bucket="bucket", Key=f"corpus/{key}", Body=found[key])
    assert result.returncode == 1
    assert f"{shard}: its SHA-256 is " in result.stdout
    assert f"{record}: the stage record is missing" in result.stdout


def test_the_demo_killed_and_resumed_in_a_bucket_is_that_of_a_folder_byte_for_byte(s3, tmp_path):
    client, environment = s3
    arguments = ("build", DEMO, "--out", "s3://bucket/demo", "--workers", 2)
    killed("before-part-record:40", tmp_path, *arguments, **environment)
    assert not [key for key in outputs(client, "demo") if key.startswith("builds/")]
    run(*arguments, **environment)
    assert outputs(client, "demo") == build(DEMO, tmp_path / "demo", *ONE)


def test_a_bucket_without_a_build_is_the_users_mistake(s3):
    result = cli("status", "s3://bucket/nothing/here", **s3[1])
    assert (result.returncode, result.stderr) == (2, "redpajama: s3://bucket/nothing/here: no finished build is here\n")


def test_a_build_that_fails_leaves_in_the_bucket_what_status_tells(manifest, s3, tmp_path):
    client, environment = s3
    shutil.copytree(manifest.parent, tmp_path / "raw")
    path = with_sha256(tmp_path / "raw/small.toml", "news-1.json.gz", "0" * 64)
    assert cli("build", path, "--out", "s3://bucket/fails", *DOCUMENTS, **environment).returncode == 1
    left = objects(client, "fails")
    assert {key.split("/")[0] for key in left} == {".layout", ".lease", "inputs", ".tmp"}
    assert all(key.endswith(".json") for key in left if key.startswith(".tmp/"))


def test_what_a_build_in_a_bucket_downloads_is_kept_in_the_bucket(manifest, reference, s3, tmp_path):
    client, environment = s3
    web = Web(raw_files(manifest))
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        for _ in range(2):
            run("build", path, "--out", "s3://bucket/web", *DOCUMENTS, **environment)
            assert len(web.bodies()) == 5
    found = objects(client, "web")
    assert {k.rpartition("/")[2]: v for k, v in found.items() if "inputs/fetched/" in k} == raw_files(manifest)
    assert not [key for key in found if key.startswith(".tmp/")]


# ---- inputs from elsewhere


def test_inputs_in_a_bucket_give_the_documents_of_local_files(manifest, reference, s3, tmp_path):
    client, environment = s3
    for key, data in raw_files(manifest, "raw/v1/").items():
        client.put_object(Bucket="bucket", Key=key, Body=data)
    path = manifest_of(tmp_path, ["s3://bucket/raw/*/news-*.json.gz"], ["s3://bucket/raw/v1/web-?.json.gz"])
    run("build", path, "--out", tmp_path / "r", *DOCUMENTS, **environment)
    assert documents(tmp_path / "r") == documents(reference[0])
    assert input_urls(tmp_path / "r") == {f"s3://bucket/{key}" for key in raw_files(manifest, "raw/v1/")}


def test_a_file_of_a_web_server_is_downloaded_again_only_when_it_has_changed(manifest, reference, tmp_path):
    web, root = Web(raw_files(manifest, "c4/")), tmp_path / "r"
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/c4/")
        run("build", path, "--out", root, *DOCUMENTS)
        assert documents(root) == documents(reference[0])
        assert input_urls(root) == {f"{url}/{name}" for name in web.files}
        before = (root / "builds/small.json").read_bytes()
        run("build", path, "--out", root, *DOCUMENTS)
        assert (root / "builds/small.json").read_bytes() == before
        assert sorted(each.path for each in web.bodies()) == sorted(web.files)
        write_rows(tmp_path / "new.gz", 500, 60)
        web.files["c4/news-1.json.gz"] = (tmp_path / "new.gz").read_bytes()
        run("build", path, "--out", root, *DOCUMENTS)
    assert [len(web.bodies(name)) for name in sorted(web.files)] == [1, 2, 1, 1, 1]
    assert "https://example.org/500" in str(documents(root))


def test_a_cut_connection_and_a_killed_build_cost_no_byte_twice(manifest, reference, tmp_path):
    cuts = {"news-0.json.gz": 1, "web-0.json.gz": 2}
    web, root = Web(raw_files(manifest), cuts=dict(cuts)), tmp_path / "r"
    with serve(web) as url:
        build_it = ("build", manifest_at(tmp_path, manifest, f"{url}/"), "--out", root, *DOCUMENTS)
        killed("after-part-record:5", tmp_path, *build_it)
        run(*build_it)
    assert documents(root) == documents(reference[0])
    assert {name: len(web.bodies(name)) for name in web.files} == {name: 1 + cuts.get(name, 0) for name in web.files}
    half = len(web.files["news-0.json.gz"]) // 2
    assert [each.range for each in web.bodies("news-0.json.gz")] == ["", f"bytes={half}-"]


def test_downloads_go_with_a_root_that_moves_and_one_that_is_gone_is_one_line(manifest, reference, tmp_path):
    web, old, root = Web(raw_files(manifest)), tmp_path / "old", tmp_path / "new"
    with serve(web) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        killed("after-part-record:5", tmp_path, "build", path, "--out", old, *DOCUMENTS)
        old.rename(root)
        gone = next(root.glob("inputs/fetched/*/*/web-1.json.gz"))
        gone.unlink()
        result = cli("build", path, "--out", root, *DOCUMENTS, **HERE)
        assert result.returncode == 1
        assert result.stderr == f"redpajama: {gone}: it was measured before and is gone; --rehash looks for it again\n"
        assert len(list(root.glob("documents/*/part-*.json"))) == 4
        assert len(web.bodies()) == 5
        run("build", path, "--out", root, *DOCUMENTS, "--rehash")
    assert documents(root) == documents(reference[0])


def test_a_missing_page_is_one_line_before_any_work(manifest, tmp_path):
    with serve(Web({})) as url:
        path = manifest_at(tmp_path, manifest, f"{url}/")
        result = cli("build", path, "--out", tmp_path / "r", **HERE)
    assert result.returncode == 2
    said = f"redpajama: {path}: source[1].inputs: {url}/news-0.json.gz: HTTP 404 Not Found"
    assert result.stderr == f"{said} (`redpajama plan` tells all 2 mistakes)\n"
    assert not (tmp_path / "r").exists()


@contextmanager
def hub_with(manifest: Path, tokenizer: Path):
    """(hub, environment): the corpus as the dataset `org/small`, a tokenizer as the model `org/tok`, and a CDN."""
    files = {**raw_files(manifest, "datasets/org/small/en/"), "datasets/org/small/README.md": b"# small\n"}
    hub = Hub({**files, "org/tok/tokenizer.json": tokenizer.read_bytes()}, cdn=Web(dict(files)))
    with serve(hub.cdn), serve(hub) as url:
        yield hub, {"HF_ENDPOINT": url, "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_TELEMETRY": "1"}


def test_inputs_and_tokenizer_of_the_hub_are_downloaded_once_at_one_commit(manifest, reference, tmp_path):
    root = tmp_path / "r"
    with hub_with(manifest, next(reference[0].glob("tokenizer/*/*-tokenizer.json"))) as (hub, environment):
        web = [f"hf://datasets/org/small@main/en/web-{number}.json.gz" for number in range(2)]
        path = manifest_of(tmp_path, ["hf://datasets/org/small/en/news-*.json.gz"], web)
        path.write_text(path.read_text().replace("train = { vocab_size = 400 }", 'path = "hf://org/tok"'))
        for _ in range(2):
            run("build", path, "--out", root, *ONE, **environment)
            asked = [each for each in hub.requests if "/resolve/" in each.path]
            names = {*raw_files(manifest), "tokenizer.json"}
            assert sorted(each.path.rpartition("/")[2] for each in asked) == sorted(names)
            assert len(hub.cdn.bodies()) == 5
    assert documents(root) == documents(reference[0])
    news = {f"hf://datasets/org/small@{hub.commit}/en/news-{number}.json.gz" for number in range(3)}
    assert input_urls(root) == {*news, *web}
    assert all(f"/resolve/{hub.commit}/" in each.path for each in asked)
    assert {each.token for each in asked} == {"Bearer hf_secret"}
    assert {each.token for each in hub.cdn.requests} == {""}
    assert shards(root) == shards(reference[0])


def test_a_mirror_is_read_instead_of_the_web_wherever_it_is_and_the_records_keep_the_urls(
    manifest, reference, tmp_path
):
    old, new, base = tmp_path / "old", tmp_path / "new", "https://data.example.org/c4/"
    shutil.copytree(manifest.parent, old / "c4")
    path = manifest_of(tmp_path, [f"{base}news-*.json.gz"], [f"{base}web-*.json.gz"])
    build_it = ("build", path, "--out", tmp_path / "r", *DOCUMENTS, "--mirror")
    killed("before-part-record:7", tmp_path, *build_it, f"https://data.example.org/={old}")
    old.rename(new)
    run(*build_it, f"https://data.example.org/={new}/")
    assert documents(tmp_path / "r") == documents(reference[0])
    assert input_urls(tmp_path / "r") == set(raw_files(manifest, base))


def test_a_pattern_on_the_web_without_a_mirror_is_the_users_mistake(tmp_path):
    path = manifest_of(tmp_path, ["https://data.example.org/news-*.json.gz"], ["https://data.example.org/web.json.gz"])
    result = cli("build", path, "--out", tmp_path / "r")
    assert result.returncode == 2
    assert "the web has no listing; name each file, or read a copy with --mirror PREFIX=DIR" in result.stderr
    assert result.stderr.count("\n") == 1


# ---- checksums


def with_sha256(path: Path, url: str, sha256: str) -> Path:
    """The manifest, with the checksum that a file of `news` must have."""
    head, _, rest = path.read_text().partition('name = "news"\n')
    path.write_text(f'{head}name = "news"\nsha256 = {{ "{url}" = "{sha256}" }}\n{rest}')
    return path


def test_a_wrong_checksum_of_a_local_file_ends_with_status_1_and_one_line(manifest, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    got = hashlib.sha256((folder / "news-1.json.gz").read_bytes()).hexdigest()
    path = with_sha256(folder / "small.toml", "news-1.json.gz", "0" * 64)
    result = cli("build", path, "--out", tmp_path / "r", "--workers", 2)
    assert result.returncode == 1
    assert result.stderr == f"redpajama: news-1.json.gz: has sha256 {got}, wanted {'0' * 64}\n"
    assert not list(tmp_path.glob("r/documents/*/*"))


def test_a_file_with_a_wrong_checksum_is_not_kept_and_downloaded_again(manifest, tmp_path):
    files = raw_files(manifest)
    right, got = (hashlib.sha256(files[name]).hexdigest() for name in ("news-1.json.gz", "news-2.json.gz"))
    web = Web({**files, "news-1.json.gz": files["news-2.json.gz"]})
    with serve(web) as url:
        path = with_sha256(manifest_at(tmp_path, manifest, f"{url}/"), f"{url}/news-1.json.gz", right)
        build_it = ("build", path, "--out", tmp_path / "r", *DOCUMENTS)
        result = cli(*build_it, **HERE)
        assert result.returncode == 1
        assert result.stderr == f"redpajama: {url}/news-1.json.gz: has sha256 {got}, wanted {right}\n"
        web.files["news-1.json.gz"] = files["news-1.json.gz"]
        run(*build_it)


def test_a_checksum_for_no_input_is_the_users_mistake(manifest, tmp_path):
    folder = tmp_path / "raw"
    shutil.copytree(manifest.parent, folder)
    path = with_sha256(folder / "small.toml", "news-9.json.gz", "0" * 64)
    result = cli("build", path, "--out", tmp_path / "r")
    assert result.returncode == 2
    assert result.stderr == f"redpajama: {path}: source[1].sha256: no input is called 'news-9.json.gz'\n"
