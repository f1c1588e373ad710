"""What hosts say of a manifest's inputs: `doctor` and `plan`, against servers of every kind on this machine."""

import gzip
import hashlib
import json
import os
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from corpora import write_rows
from fake_hub import Hub, Web, serve

from redpajama import cli
from redpajama.errors import InputError
from redpajama.pipelines import glance
from redpajama.raw import download, stores
from redpajama.raw.fetch import fetch
from redpajama.raw.listing import expand

BODY = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(download, "FIRST_DELAY_SECONDS", 0.001)


def write_manifest(folder: Path, *inputs: str, **keys: object) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    path = folder / "m.toml"
    path.write_text(
        f'name = "m"\nseed = 1\n[[source]]\nname = "src"\npipeline = "c4"\ninputs = {json.dumps(inputs)}\n{lines}'
    )
    return str(path)


def doctor(capsys, path: str, *options: str) -> tuple[int, list[dict]]:
    status = cli.run(["doctor", path, "--json", *options])
    return status, json.loads(capsys.readouterr().out)


# ---- the web


class Sites(Web):
    """Paths that answer with a status, or that lead elsewhere."""

    def __init__(self, files: dict[str, bytes], leads: dict[str, str]):
        super().__init__(files)
        self.leads = leads

    def answer(self, handler, path: str) -> None:
        if path.isdecimal():
            return handler.finish_with(int(path))
        if path in self.leads:
            return handler.finish_with(301, {"Location": self.leads[path]})
        return super().answer(handler, path)


@pytest.fixture
def sites():
    with serve(Web({"b.gz": BODY})) as other, serve(web := Sites({"a.gz": BODY, "deep/a.gz": b"x"}, {})) as url:
        host = url.replace("127.0.0.1", "localhost")
        web.leads = {"old.gz": f"{other}/b.gz", "slash.gz": f"{url}/deep/a.gz", "lost.gz": f"{host}/404"}
        yield web


@pytest.mark.parametrize(
    ("name", "state", "files", "size", "said"),
    [
        ("a.gz", "ok", 1, len(BODY), ""),
        ("slash.gz", "ok", 1, 1, ""),
        ("old.gz", "moved", 1, len(BODY), "http://127.0.0.1:"),
        ("lost.gz", "dead", 0, 0, "HTTP 404 Not Found"),
        ("404", "dead", 0, 0, "HTTP 404 Not Found"),
        ("410", "dead", 0, 0, "HTTP 410 Gone"),
        ("403", "forbidden", 0, 0, "HTTP 403 Forbidden"),
        ("401", "forbidden", 0, 0, "HTTP 401 Unauthorized"),
        ("503", "no answer", 0, 0, "given up after 4 tries: HTTP 503"),
    ],
)
def test_a_web_server_is_asked_and_what_it_says_has_a_name(sites, tmp_path, capsys, name, state, files, size, said):
    url = f"{sites.url}/{name}"
    status, (found,) = doctor(capsys, write_manifest(tmp_path, url))
    assert status == (state == "dead")
    assert (found["state"], found["files"], found["bytes"], found["input"]) == (state, files, size, url)
    assert said in found["said"]
    assert not [request for request in sites.bodies("a.gz")], "no file is read"


def test_a_host_that_nobody_answers_for_is_not_called_dead(tmp_path, capsys):
    status, (found,) = doctor(capsys, write_manifest(tmp_path, "http://127.0.0.1:1/a.gz"))
    assert (status, found["state"]) == (0, "no answer")


def test_findings_stand_in_the_manifests_order_with_the_files_that_options_name(sites, tmp_path, capsys):
    write_rows(tmp_path / "rows.json.gz", 0, 5)
    (tmp_path / "m.toml").write_text(
        f"""
name = "m"
seed = 1
[[source]]
name = "web"
pipeline = "c4"
inputs = ["{sites.url}/410", "rows.json.gz", "gone/*.gz", "{sites.url}/a.gz"]
[[source]]
name = "code"
pipeline = "the_stack"
inputs = ["{sites.url}/old.gz"]
options = {{ optouts = "{sites.url}/404" }}
"""
    )
    status, found = doctor(capsys, str(tmp_path / "m.toml"))
    assert status == 1
    assert [(each["source"], each["state"]) for each in found] == [
        ("web", "dead"),
        ("web", "ok"),
        ("web", "dead"),
        ("web", "ok"),
        ("code", "moved"),
        ("code.optouts", "dead"),
    ]
    assert cli.run(["doctor", str(tmp_path / "m.toml")]) == 1
    said = capsys.readouterr().out
    assert "6 inputs: 2 ok, 1 moved, 3 dead" in said
    assert "HTTP 410 Gone" in said


def test_a_pattern_that_cannot_be_right_is_the_users_mistake_for_doctor_too(tmp_path, capsys):
    path = write_manifest(tmp_path, "https://host.example/*.gz")
    assert cli.run(["doctor", path]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"redpajama: {path}: source[1].inputs: 'https://host.example/*.gz': the web has no listing")
    assert said.count("\n") == 1


def test_a_mirror_is_looked_at_instead_of_the_host(tmp_path, capsys):
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt/a.gz").write_bytes(b"four")
    path = write_manifest(tmp_path, "https://host.example/a.gz", "https://host.example/b.gz")
    status, found = doctor(capsys, path, "--mirror", f"https://host.example/={tmp_path}/mnt")
    assert status == 1
    assert [(each["state"], each["bytes"]) for each in found] == [("ok", 4), ("dead", 0)]


def test_plan_marks_what_is_gone_and_lists_the_rest(sites, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glance, "SECONDS", 0)
    path = write_manifest(tmp_path, f"{sites.url}/404", f"{sites.url}/a.gz")
    assert cli.run(["plan", path, "--out", str(tmp_path / "r")]) == 1
    said = capsys.readouterr().out
    assert "1 files, 5.12 MB, 5.12 MB of them to fetch; nothing was written." in said
    assert f"dead: src: {sites.url}/404: HTTP 404 Not Found" in said
    assert cli.run(["plan", path, "--out", str(tmp_path / "r"), "--json"]) == 1
    (lost,) = json.loads(capsys.readouterr().out)["unavailable"]
    assert lost["state"] == "dead"
    assert cli.run(["build", path, "--out", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err == f"redpajama: {path}: source[1].inputs: {sites.url}/404: HTTP 404 Not Found\n"
    assert not (tmp_path / "r").exists()


def test_plan_tells_files_that_are_here_from_those_to_fetch(sites, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glance, "SECONDS", 0)
    (tmp_path / "here.gz").write_bytes(bytes(1_000_000))
    path = write_manifest(tmp_path, "here.gz", f"{sites.url}/a.gz")
    assert cli.run(["plan", path, "--out", str(tmp_path / "r")]) == 0
    assert "2 files, 6.12 MB, 5.12 MB of them to fetch" in capsys.readouterr().out


# ---- a dump


def test_a_dump_is_one_finding(tmp_path, capsys):
    paths = [f"crawl-data/CC-MAIN-2024-22/segments/1.2/wet/f-{n:05d}.warc.wet.gz" for n in range(100)]
    listing = {"crawl-data/CC-MAIN-2024-22/wet.paths.gz": gzip.compress("\n".join(paths).encode())}
    with serve(Web({**listing, **dict.fromkeys(paths, BODY[:1000])})) as url:
        (tmp_path / "m.toml").write_text(
            'name = "m"\nseed = 1\n[[source]]\nname = "cc"\npipeline = "common_crawl"\n'
            f'dump = [{{ id = "CC-MAIN-2024-22", root = "{url}/" }}, {{ id = "CC-MAIN-2024-99", root = "{url}/" }}]\n'
        )
        status, (there, gone) = doctor(capsys, str(tmp_path / "m.toml"))
    assert status == 1
    assert (there["input"], there["state"], there["files"], there["bytes"], there["is_estimate"]) == (
        *("CC-MAIN-2024-22 wet", "ok", 100, 100_000, True),
    )
    assert (gone["state"], gone["files"]) == ("dead", 0)


# ---- the hub


@pytest.fixture
def hub(monkeypatch):
    files = {"datasets/org/name/a.gz": BODY, "datasets/org/name/b.txt": b"b"}
    with serve(cdn := Web({"datasets/org/name/a.gz": BODY})), serve(one := Hub(files, cdn=cdn)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield one


def test_the_hub_is_asked_without_a_download(hub, tmp_path, capsys):
    inputs = [f"hf://datasets/org/name/{name}" for name in ("a.gz", "*", "c.gz")]
    status, found = doctor(capsys, write_manifest(tmp_path, *inputs, "hf://datasets/org/other/a.gz"))
    assert status == 1
    assert [(each["state"], each["files"], each["bytes"]) for each in found] == [
        ("ok", 1, len(BODY)),
        ("ok", 2, len(BODY) + 1),
        ("dead", 0, 0),
        ("dead", 0, 0),
    ]
    assert {request.method for request in hub.downloads()} == {"HEAD"}


@pytest.mark.parametrize(("token", "state"), [("hf_other", "forbidden"), ("hf_right", "ok")])
def test_a_dataset_whose_terms_were_not_accepted_is_forbidden_though_it_is_listed(
    hub, tmp_path, capsys, monkeypatch, token, state
):
    hub.gated = "hf_right"
    monkeypatch.setenv("HF_TOKEN", token)
    status, (found,) = doctor(capsys, write_manifest(tmp_path, "hf://datasets/org/name/*.txt"))
    assert (status, found["state"]) == (0, state)
    assert ("accept the dataset's terms on the hub" in found["said"]) == (state == "forbidden")


# ---- buckets of S3 whose reader pays


class Bucket:
    """S3 with objects in two buckets; both refuse whoever does not accept the cost, one of them says why."""

    def __init__(self, objects: dict[str, bytes]):
        self.objects, self.seen, self.breaks = objects, [], 0  # seen: (method, path, accepted, Range)

    def answer(self, handler) -> None:
        split = urlsplit(handler.path)
        path, accepted = unquote(split.path).strip("/"), handler.headers.get("x-amz-request-payer") == "requester"
        self.seen.append((handler.command, path, accepted, handler.headers.get("Range", "")))
        if not accepted:
            headers = {"x-amz-request-payer": "requester"} if path.startswith("marked") else {}
            return self.send(handler, 403, b"<Error><Code>AccessDenied</Code></Error>", headers)
        if "list-type" in split.query:
            return self.list(handler, path, parse_qs(split.query).get("prefix", [""])[0])
        if path not in self.objects:
            return self.send(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        return self.send_object(handler, self.objects[path])

    def list(self, handler, bucket: str, prefix: str) -> None:
        names = [path.partition("/")[2] for path in sorted(self.objects) if path.startswith(f"{bucket}/{prefix}")]
        entries = "".join(
            f"<Contents><Key>{name}</Key><Size>{len(self.objects[f'{bucket}/{name}'])}</Size>"
            f"<ETag>{etag(self.objects[f'{bucket}/{name}'])}</ETag>"
            "<LastModified>2024-05-01T00:00:00.000Z</LastModified></Contents>"
            for name in names
        )
        body = f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(names)}</KeyCount>{entries}</ListBucketResult>"
        self.send(handler, 200, body.encode(), {"Content-Type": "application/xml"})

    def send_object(self, handler, data: bytes) -> None:
        wanted = re.match(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        first, last = (int(wanted[1]), min(int(wanted[2]), len(data) - 1)) if wanted else (0, len(data) - 1)
        headers = {"ETag": etag(data), "Last-Modified": "Wed, 01 May 2024 00:00:00 GMT"}
        if wanted:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.send(handler, 206 if wanted else 200, data[first : last + 1], headers)

    def send(self, handler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def serve_bucket(bucket: Bucket):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            bucket.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(monkeypatch):
    import fsspec

    pytest.importorskip("s3fs")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    tars = {f"arxiv/src/arXiv_src_2301_00{n}.tar": BODY[: 1_000_000 * n] for n in (1, 2)}
    one = Bucket({**tars, "marked/a.gz": b"a"})
    with serve_bucket(one) as url:
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in {**keys, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield one
    fsspec.get_filesystem_class("s3").clear_instance_cache()


TARS = "s3://arxiv/src/arXiv_src_2301_*.tar"


def test_a_bucket_whose_reader_pays_is_one_line_until_the_cost_is_accepted(bucket, tmp_path, capsys):
    path = write_manifest(tmp_path, TARS)
    assert cli.run(["build", path, "--out", str(tmp_path / "r")]) == 2
    why = f"'{TARS}': whoever reads this bucket pays Amazon for the egress"
    accepts = "requester_pays = true in [[source]] accepts that, for your AWS credentials"
    assert capsys.readouterr().err == f"redpajama: {path}: source[1].inputs: {why}; {accepts}\n"
    assert not bucket.seen, "a bucket that is known to bill is not even asked"
    with pytest.raises(InputError, match=r"'s3://marked/a.gz': whoever reads this bucket pays"):
        expand(["s3://marked/a.gz"], {}, "/")
    assert bucket.seen


def test_plan_and_doctor_tell_what_leaves_the_bucket(bucket, tmp_path, capsys):
    refused, accepted = write_manifest(tmp_path, TARS), ""
    status, (found,) = doctor(capsys, refused)
    assert (status, found["state"], found["files"]) == (0, "requester-pays", 0)
    assert cli.run(["plan", refused, "--out", str(tmp_path / "r")]) == 1
    assert "requester-pays: src: " in capsys.readouterr().out
    accepted = write_manifest(tmp_path, TARS, requester_pays=True)
    status, (found,) = doctor(capsys, accepted)
    assert (status, found["state"], found["files"], found["bytes"]) == (0, "requester-pays", 2, 3_000_000)
    assert cli.run(["plan", accepted, "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert "2 files, 3.00 MB, 3.00 MB of them to fetch; nothing was written." in said
    assert "3.00 MB leave buckets whose reader pays: Amazon bills you for the egress." in said
    assert cli.run(["plan", accepted, "--out", str(tmp_path / "r"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"]["src"]["egress_bytes"] == 3_000_000


def test_the_environment_can_accept_the_cost_too(bucket, monkeypatch):
    import fsspec.config

    monkeypatch.setitem(fsspec.config.conf, "s3", {"requester_pays": "true"})
    assert len(expand([TARS], {}, "/")) == 2


def test_what_is_paid_for_is_brought_once_and_read_here(bucket, tmp_path):
    listed = expand([TARS], {}, "/", requester_pays=True)
    assert all(file.is_downloaded for file in listed)
    raw = fetch(listed[1], tmp_path, hashlib.sha256(BODY[:2_000_000]).hexdigest())
    assert Path(raw.path).is_relative_to(tmp_path)
    assert raw.url == "s3://arxiv/src/arXiv_src_2301_002.tar"
    sent = len([each for each in bucket.seen if each[0] == "GET" and each[1].endswith(".tar")])
    assert fetch(listed[1], tmp_path) == raw
    assert len([each for each in bucket.seen if each[0] == "GET" and each[1].endswith(".tar")]) == sent
    assert all(accepted for *_, accepted, _ in bucket.seen)


def test_a_bucket_that_is_closed_or_not_there_is_told_from_one_that_bills(bucket, tmp_path, capsys):
    path = write_manifest(tmp_path, "s3://closed/a.gz", "s3://arxiv/src/none_*.tar")
    status, found = doctor(capsys, path)
    assert [each["state"] for each in found] == ["forbidden", "requester-pays"]
    status, found = doctor(capsys, write_manifest(tmp_path, "s3://arxiv/src/none_*.tar", requester_pays=True))
    assert (status, found[0]["state"]) == (1, "dead")
    assert stores.REQUESTER_PAYS == ("arxiv",)
