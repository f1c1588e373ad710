"""Patterns -> files -> bytes: listings, mirrors, downloads over a bad network, checksums."""

import errno
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
from conftest import SHARED, needs_shared

from redpajama.errors import InputError
from redpajama.raw import download, listing
from redpajama.raw.fetch import fetch
from redpajama.raw.io import Listed
from redpajama.raw.listing import expand

BODY = bytes(range(256)) * 2000  # 512,000 bytes
SHA = hashlib.sha256(BODY).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def urls(listed: list[Listed]) -> list[str]:
    return [file.url for file in listed]


@pytest.fixture
def tree(tmp_path):
    """A folder of small files."""
    for name in ("c4/a.gz", "c4/b.gz", "c4/deep/c.gz", "c4/.git/config", "c4/x[1].gz", "wiki/d.bz2"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


# --- local files


def test_local_patterns_give_urls_as_the_manifest_writes_them(tree):
    listed = expand(["c4/*.gz", "./wiki/d.bz2"], {}, tree)
    assert urls(listed) == ["c4/a.gz", "c4/b.gz", "c4/x[1].gz", "wiki/d.bz2"]
    first = listed[0]
    stat = (tree / "c4/a.gz").stat()
    assert (first.path, first.bytes, first.etag, first.tree) == (str(tree / "c4/a.gz"), 7, str(stat.st_mtime_ns), "")
    assert urls(expand([f"{tree}/c4/a.gz", "c4/**/c.gz"], {}, tree)) == [f"{tree}/c4/a.gz", "c4/deep/c.gz"]


def test_the_order_of_patterns_does_not_matter_and_a_file_comes_once(tree):
    patterns = ["c4/*.gz", "c4/a.gz", "wiki/*", "c4/", "c4/deep/*"]
    expected = expand(patterns, {}, tree)
    assert len(set(urls(expected))) == len(expected) == 5
    assert expand(patterns[::-1], {}, tree) == expected


def test_a_name_that_only_looks_like_a_pattern_is_itself(tree):
    assert urls(expand(["c4/x[1].gz"], {}, tree)) == ["c4/x[1].gz"]


def test_a_tree_is_every_regular_file_beneath_it_without_git_and_links(tree):
    (tree / "c4/link.gz").symlink_to(tree / "c4/a.gz")
    (tree / "c4/folder").symlink_to(tree / "wiki")
    os.mkfifo(tree / "c4/pipe")
    listed = expand(["c4/"], {}, tree)
    assert urls(listed) == ["c4/a.gz", "c4/b.gz", "c4/deep/c.gz", "c4/x[1].gz"]
    assert {file.tree for file in listed} == {"c4/"}
    raw = fetch(listed[2], tree)
    assert (raw.relative, raw.tree) == ("deep/c.gz", "c4/")
    assert [file.tree for file in expand(["*/"], {}, tree)] == ["c4/"] * 4 + ["wiki/"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nope/*.gz", "'nope/*.gz' matches no file in "),
        ("nope/", "'nope/' matches no file in "),
        ("c4", "'c4' matches no file; all files of a directory are 'c4/'"),
        ("c4/d*", "'c4/d*' matches no file; all files of a directory are 'c4/d*/'"),
        ("ftp://host/a", "'ftp://host/a': ftp:// is unknown; wanted a path, s3://, gs://, hf://, https:// or http://"),
        ("https://host/*.gz", "'https://host/*.gz': the web has no listing; name each file, or "),
        ("hf://datasets/c4", "'hf://datasets/c4': wanted hf://datasets/ORG/NAME[@REVISION]/PATH or "),
    ],
)
def test_a_pattern_that_cannot_be_right_is_one_line(tree, pattern, message):
    with pytest.raises(InputError) as caught:
        expand(["c4/a.gz", pattern], {}, tree)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_utf_8_is_refused_by_name(tree):
    (tree / os.fsdecode(b"c4/caf\xe9.gz")).write_bytes(b"x")
    with pytest.raises(InputError, match=r"caf.xe9.gz.: a file name must be UTF-8"):
        expand(["c4/"], {}, tree)


@pytest.mark.parametrize("pattern", ["c4/**/*.gz", "c4/*/*.gz", "**", "*/"])
def test_a_folder_that_cannot_be_listed_is_named_and_its_files_are_not_just_missing(tree, monkeypatch, pattern):
    scandir = os.scandir

    def refuse(folder):
        if str(folder).rstrip("/").endswith("deep"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot read .*deep: Permission denied"):
        expand([pattern], {}, tree)


@pytest.mark.parametrize("pattern", ["c4/*/c.gz", "c4/deep/c.gz", "c4/deep/*.gz", "c4/**/c.gz"])
def test_a_file_in_a_folder_that_may_not_be_searched_is_not_just_missing(tree, monkeypatch, pattern):
    def refusing(ask):
        def refuse(path, *more, **named):
            if "deep/" in os.fspath(path):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return ask(path, *more, **named)

        return refuse

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(InputError, match=r"cannot read .*deep/.*: Permission denied"):
        expand([pattern], {}, tree)


def test_a_pattern_of_all_folders_there_are_begins_at_the_top(tmp_path):
    assert listing._matched_each([""], tmp_path) == ["/"]


@pytest.mark.parametrize("pattern", ["c4/**/*.gz", "c4/*/*.gz"])
def test_a_link_to_itself_is_no_folder_and_hides_none_beside_it(tree, pattern):
    (tree / "c4/circle").symlink_to(tree / "c4/circle")
    assert "c4/deep/c.gz" in urls(expand([pattern], {}, tree))


def test_a_link_that_leads_nowhere_is_named(tree):
    (tree / "c4/gone.gz").symlink_to(tree / "nowhere")
    with pytest.raises(InputError, match=r"cannot read .*gone\.gz: No such file"):
        expand(["c4/*.gz"], {}, tree)


@pytest.mark.parametrize(
    "pattern", ["*", ".*", "[a-c]4/?.gz", "*/deep", "./c4/../wiki/*", "c4/.git/*", "*/x[[]1].gz", "nope/*"]
)
def test_patterns_match_what_the_standard_library_has_them_match(tree, pattern):
    (tree / ".hidden").write_bytes(b"")
    for each in (pattern, f"{tree}/{pattern}"):
        assert sorted(listing._globbed(each, tree)) == sorted(glob.glob(each, root_dir=tree))


def test_a_folder_of_a_store_that_cannot_be_listed_is_told(bucket, monkeypatch):
    from s3fs import S3FileSystem

    for key in ("t/a/x.gz", "t/b/x.gz", "t/b/deep/y.gz", "t/c.gz"):
        bucket.put_object(Bucket="bucket", Key=key, Body=b"1")
    wanted = {
        "*/x.gz": ["a/x.gz", "b/x.gz"],
        "[ab]/*": ["a/x.gz", "b/x.gz"],
        "**/*.gz": ["a/x.gz", "b/deep/y.gz", "b/x.gz", "c.gz"],
        "*/": ["a/x.gz", "b/deep/y.gz", "b/x.gz"],
        "b/**/y.*": ["b/deep/y.gz"],
        "*/d*/": ["b/deep/y.gz"],
    }
    for pattern, names in wanted.items():
        assert urls(expand([f"s3://bucket/t/{pattern}"], {}, "/")) == [f"s3://bucket/t/{name}" for name in names]
    listed = S3FileSystem._lsdir

    async def refuse(self, path, *rest, **named):
        if path.endswith("/b"):
            raise PermissionError(errno.EACCES, "Access Denied")
        return await listed(self, path, *rest, **named)

    monkeypatch.setattr(S3FileSystem, "_lsdir", refuse)
    with pytest.raises(InputError, match="Access Denied"):
        expand(["s3://bucket/t/*/x.*"], {}, "/")


def test_a_missing_extra_says_what_to_install(monkeypatch, tree):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setitem(sys.modules, "fsspec.implementations.gcsfs", None)
    with pytest.raises(InputError, match=re.escape("gs:// needs an extra: pip install 'redpajama[gcs]'")):
        expand(["gs://bucket/*.gz"], {}, tree)


# --- mirrors


def test_a_mirror_is_read_and_the_url_stays_the_manifests(tree):
    mirrors = {"https://data.org/": str(tree), "https://data.org/crawl/": str(tree / "c4"), "hf://": "/nowhere"}
    listed = expand(["https://data.org/wiki/*", "https://data.org/crawl/?.gz"], mirrors, "/")
    assert urls(listed) == ["https://data.org/crawl/a.gz", "https://data.org/crawl/b.gz", "https://data.org/wiki/d.bz2"]
    assert [file.path for file in listed] == [str(tree / name) for name in ("c4/a.gz", "c4/b.gz", "wiki/d.bz2")]
    assert urls(expand(["s3://b/k/c4/*.gz"], {"s3://b/k": str(tree)}, "/"))[0] == "s3://b/k/c4/a.gz"


def test_a_tree_can_be_mirrored(tree):
    for pattern, mirror in (("s3://b/c4/", "s3://b/"), ("s3://b/c4/", "s3://b/c4/")):
        folder = str(tree if mirror == "s3://b/" else tree / "c4")
        listed = expand([pattern], {mirror: folder}, "/")
        assert urls(listed) == ["s3://b/c4/a.gz", "s3://b/c4/b.gz", "s3://b/c4/deep/c.gz", "s3://b/c4/x[1].gz"]
        assert {file.tree for file in listed} == {"s3://b/c4/"}


def test_a_file_that_its_mirror_lacks_is_named_with_the_mirror(tree):
    with pytest.raises(InputError, match=f"'https://d.org/z.gz' matches no file in {tree}"):
        expand(["https://d.org/z.gz"], {"https://d.org/": str(tree)}, "/")


# --- fetch, local


def test_a_local_file_is_read_in_place_and_measured(tree):
    (listed,) = expand(["c4/a.gz"], {}, tree)
    raw = fetch(listed, tree / "cache", hashlib.sha256(b"c4/a.gz").hexdigest())
    assert (raw.url, raw.path, raw.bytes) == ("c4/a.gz", str(tree / "c4/a.gz"), 7)
    with raw.open() as stream:
        assert stream.read() == b"c4/a.gz"
    assert not (tree / "cache").exists()


def test_a_wrong_checksum_or_size_says_wanted_and_got_and_leaves_a_local_file_alone(tree):
    (listed,) = expand(["c4/a.gz"], {}, tree)
    found = hashlib.sha256(b"c4/a.gz").hexdigest()
    with pytest.raises(InputError, match=f"^c4/a.gz: has sha256 {found}, wanted {'0' * 64}$"):
        fetch(listed, tree, "0" * 64)
    (tree / "c4/a.gz").write_bytes(b"longer than before")
    with pytest.raises(InputError, match=r"^c4/a.gz: has 18 bytes, wanted 7$"):
        fetch(listed, tree)
    assert (tree / "c4/a.gz").exists()


# --- the web, as it is


class Web:
    """A server whose misdeeds are a list: each request for a body takes one, then it behaves."""

    def __init__(self):
        self.body, self.etag, self.misdeeds, self.requests = BODY, '"v1"', [], []
        self.ranges, self.heads, self.tells_length = True, True, True
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_HEAD(self):
                if web.heads:
                    web.answer(self, body=False)
                else:
                    web.send(self, 405)

            def do_GET(self):
                web.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def send(self, handler, status, headers=(), body=b"", length=None):
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        if self.tells_length or not body:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        else:
            handler.close_connection = True
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        if length is not None:
            handler.close_connection = True

    def answer(self, handler, body=True):
        if body:
            self.requests.append((handler.path, dict(handler.headers)))
            if self.misdeeds:
                misdeed = self.misdeeds.pop(0)
                if misdeed is not None:
                    misdeed(self, handler)
                    return
        offset = self.wanted_offset(handler)
        headers = {"ETag": self.etag} if self.etag else {}
        if offset:
            headers["Content-Range"] = f"bytes {offset}-{len(self.body) - 1}/{len(self.body)}"
        self.send(handler, 206 if offset else 200, headers, self.body[offset:])

    def wanted_offset(self, handler) -> int:
        wanted = re.match(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        return int(wanted[1]) if wanted and self.ranges and handler.headers.get("If-Range") == self.etag else 0


def cut_after(count: int):
    """Break the connection after so many bytes of what was asked for."""

    def misdeed(web, handler):
        offset = web.wanted_offset(handler)
        headers = {"ETag": web.etag} if web.etag else {}
        headers |= {"Content-Range": f"bytes {offset}-{len(web.body) - 1}/{len(web.body)}"} if offset else {}
        body = web.body[offset:]
        web.send(handler, 206 if offset else 200, headers, body[:count], length=len(body))

    return misdeed


def status(code: int, **headers):
    return lambda web, handler: web.send(handler, code, {name.replace("_", "-"): v for name, v in headers.items()})


@pytest.fixture
def web():
    server = Web()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def waits(monkeypatch):
    """Waiting takes no time, though the clock goes on; what would have been waited is here."""
    waited, now = [], time.time
    monkeypatch.setattr(download.time, "sleep", waited.append)
    monkeypatch.setattr(download.time, "time", lambda: now() + sum(waited))
    return waited


def listed_at(web: Web, name: str = "a.json.gz") -> Listed:
    (listed,) = expand([f"{web.url}/{name}"], {}, "/")
    return listed


def test_a_web_file_is_downloaded_once(web, tmp_path):
    listed = listed_at(web)
    assert (listed.bytes, listed.etag) == (len(BODY), '"v1"')
    raw = fetch(listed, tmp_path, SHA)
    assert (raw.url, raw.bytes, raw.sha256) == (f"{web.url}/a.json.gz", len(BODY), SHA)
    assert Path(raw.path).name == "a.json.gz"
    assert Path(raw.path).parent.parent == tmp_path
    assert fetch(listed, tmp_path) == raw
    assert len(web.requests) == 1


def test_a_cut_connection_is_resumed_where_it_broke(web, tmp_path, waits):
    web.misdeeds = [cut_after(100_000), cut_after(200_000)]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    assert [headers.get("Range") for _, headers in web.requests] == [None, "bytes=100000-", "bytes=300000-"]
    assert web.requests[1][1]["If-Range"] == '"v1"'
    assert waits == [1, 1]


def test_a_file_that_tells_no_version_is_downloaded_each_time(web, tmp_path):
    web.etag = ""
    fetch(listed_at(web), tmp_path)
    web.body = BODY[::-1]
    assert fetch(listed_at(web), tmp_path).sha256 == hashlib.sha256(BODY[::-1]).hexdigest()


def test_a_killed_download_is_resumed_by_the_next_run(web, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(download, "MAX_TRIES", 1)
    web.misdeeds = [cut_after(100_000), cut_after(0)]
    for _ in range(2):
        with pytest.raises(InputError, match="given up after 1 tries: "):
            fetch(listed_at(web), tmp_path)
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    assert web.requests[-1][1]["Range"] == "bytes=100000-"


def test_a_server_that_ignores_ranges_is_read_from_the_start(web, tmp_path, waits):
    web.ranges = False
    web.misdeeds = [cut_after(100_000)]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA


def test_a_server_without_versions_is_never_resumed(web, tmp_path, waits):
    web.etag = ""
    web.misdeeds = [cut_after(100_000)]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    assert "Range" not in web.requests[1][1]


def test_a_file_that_changes_between_two_tries_is_never_mixed(web, tmp_path, waits):
    def change(web, handler):
        cut_after(100_000)(web, handler)
        web.body, web.etag = BODY[::-1], '"v2"'

    web.misdeeds = [change]
    assert fetch(listed_at(web), tmp_path).sha256 == hashlib.sha256(BODY[::-1]).hexdigest()


def test_a_part_answered_with_another_version_is_thrown_away(web, tmp_path, waits):
    def lie(web, handler):
        headers = {"ETag": '"v2"', "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
        web.send(handler, 206, headers, BODY[::-1][100_000:])

    web.misdeeds = [cut_after(100_000), lie]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    assert "Range" not in web.requests[-1][1]


def test_a_newer_version_replaces_the_one_in_the_cache(web, tmp_path):
    fetch(listed_at(web), tmp_path)
    web.body, web.etag = b"new", '"v2"'
    assert fetch(listed_at(web), tmp_path).bytes == 3


def test_the_server_says_how_long_to_wait(web, tmp_path, waits):
    web.misdeeds = [status(503, Retry_After="7"), status(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), status(500)]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    assert waits == [pytest.approx(7, abs=0.2), 4]  # a date that is past asks for no pause


def test_waits_double_and_end(web, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(download, "MAX_DELAY_SECONDS", 10)
    web.misdeeds = [status(503)] * 20
    with pytest.raises(InputError, match=r"/a.json.gz: given up after 8 tries: HTTP 503$"):
        fetch(listed_at(web), tmp_path)
    assert waits == pytest.approx([1, 2, 4, 8, 10, 10, 10], abs=0.2)


def test_tries_that_bring_bytes_are_not_numbered(web, tmp_path, waits):
    web.misdeeds = [cut_after(30_000)] * 15
    assert fetch(listed_at(web), tmp_path).sha256 == SHA


def test_a_body_of_another_length_than_listed_is_refused_and_deleted(web, tmp_path, waits):
    listed = listed_at(web)
    web.body = BODY[:-5]
    with pytest.raises(InputError, match=r"/a.json.gz: has 511995 bytes, wanted 512000$"):
        fetch(listed, tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_server_that_promises_more_than_it_sends_is_given_up(web, tmp_path, waits):
    web.misdeeds = [cut_after(len(BODY) - 1)] + [cut_after(0)] * 30
    with pytest.raises(InputError, match="given up after 8 tries: "):
        fetch(listed_at(web), tmp_path)


def test_a_wrong_checksum_deletes_the_download(web, tmp_path):
    with pytest.raises(InputError, match=f"/a.json.gz: has sha256 {SHA}, wanted {'0' * 64}"):
        fetch(listed_at(web), tmp_path, "0" * 64)
    assert not list(tmp_path.rglob("a.json.gz"))
    assert fetch(listed_at(web), tmp_path, SHA).bytes == len(BODY)


def test_a_body_without_a_length_is_read_to_its_end(web, tmp_path, waits):
    web.tells_length = False
    listed = listed_at(web)
    assert fetch(listed, tmp_path).sha256 == SHA


def test_a_server_without_head_is_asked_for_the_headers_of_the_body(web):
    web.heads = False
    assert listed_at(web).bytes == len(BODY)


def test_a_host_that_does_not_answer_is_one_short_line(waits):
    with pytest.raises(InputError, match=r"^http://127.0.0.1:1/a: given up after 4 tries: .{10,40}$"):
        expand(["http://127.0.0.1:1/a"], {}, "/")
    assert waits == [1, 2, 4]


def test_what_is_not_there_is_one_line_at_once(web, tmp_path, waits):
    listed = listed_at(web)
    web.misdeeds = [status(404)]
    with pytest.raises(InputError, match=r"/a.json.gz: HTTP 404 Not Found$"):
        fetch(listed, tmp_path)
    assert not waits


def test_a_slow_body_is_read_and_a_stalled_one_tried_again(web, tmp_path, waits, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", (1, 0.3))
    release = threading.Event()

    def stall(web, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("ETag", web.etag)
        handler.end_headers()
        for at in range(0, 60_000, 20_000):
            handler.wfile.write(BODY[at : at + 20_000])
            release.wait(0.05)
        release.wait(5)

    web.misdeeds = [stall]
    assert fetch(listed_at(web), tmp_path).sha256 == SHA
    release.set()
    assert len(web.requests) == 2


def test_two_processes_download_a_file_once(web, tmp_path):
    listed = listed_at(web)
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(listed, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(web.requests) == 1


@pytest.mark.parametrize("name", ["%2e%2e%2f%2e%2e%2fetc", "a%2F..%2Fb.gz", "..", "x" * 300])
def test_no_url_leads_out_of_the_cache(web, tmp_path, name):
    listed = Listed(f"{web.url}/{name}", f"{web.url}/{name}", len(BODY), '"v1"')
    path = Path(fetch(listed, tmp_path / "cache").path).resolve()
    assert path.is_relative_to(tmp_path / "cache")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


# --- the hub


class Hub(Web):
    """As much of the hub as is asked: one dataset of three files, one model; large files live on another server."""

    def __init__(self):
        super().__init__()
        self.files = {"data/en/a.gz": b"small", "data/en/b.gz": BODY, "data/de/c.gz": b"de", "tokenizer.json": b"{}"}
        self.storage = Web()
        self.seen = []

    def answer(self, handler, body=True):
        path = unquote(handler.path.split("?")[0])
        self.seen.append((path, handler.headers.get("Authorization", "")))
        length = int(handler.headers.get("Content-Length", 0))
        asked = handler.rfile.read(length) if length else b""
        api = re.fullmatch(r"/api/(datasets|models)/org/name/(revision|tree|paths-info)/([^/]+)/?(.*)", path)
        resolve = re.fullmatch(r"/(?:datasets/)?org/name/resolve/([^/]+)/(.*)", path)
        if re.fullmatch(r"/api/(datasets|models)/org/name", path) or (api and api[2] == "revision"):
            self.json(handler, {"id": "org/name", "sha": COMMIT, "siblings": []})
        elif api and api[3] == COMMIT and api[2] == "tree":
            below = [name for name in self.files if name.startswith(f"{api[4]}/" if api[4] else "")]
            folders = sorted({str(Path(name).parent) for name in below} - {"."})
            entries = [{"type": "directory", "oid": "0" * 40, "path": name, "size": 0} for name in folders]
            if below:
                self.json(handler, entries + [self.entry(name) for name in below])
            else:
                self.send(handler, 404, {"X-Error-Code": "EntryNotFound"})
        elif api and api[3] == COMMIT and api[2] == "paths-info":
            wanted = parse_qs(asked.decode())["paths"]
            self.json(handler, [self.entry(name) for name in wanted if name in self.files])
        elif resolve and resolve[1] == COMMIT and resolve[2] in self.files:
            if resolve[2].endswith("b.gz"):
                self.send(handler, 302, {"Location": f"{self.storage.url}/blob"})
            else:
                self.send(handler, 200, {"ETag": '"x"'}, self.files[resolve[2]])
        else:
            self.send(handler, 404, {"X-Error-Code": "RepoNotFound"})

    def entry(self, name: str) -> dict:
        data = self.files[name]
        row = {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name}
        if len(data) > 1000:
            row["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return row

    def json(self, handler, value):
        self.send(handler, 200, {"Content-Type": "application/json"}, json.dumps(value).encode())


@pytest.fixture
def hub(monkeypatch):
    server = Hub()
    server.server.RequestHandlerClass.do_POST = server.server.RequestHandlerClass.do_GET
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    for each in (server, server.storage):
        each.server.shutdown()
        each.server.server_close()


def test_the_hubs_files_are_listed_at_one_commit(hub):
    listed = expand(["hf://datasets/org/name/data/*/*.gz", "hf://datasets/org/name/data/en/a.gz"], {}, "/")
    root = f"hf://datasets/org/name@{COMMIT}"
    assert urls(listed) == [f"{root}/data/de/c.gz", f"{root}/data/en/a.gz", f"{root}/data/en/b.gz"]
    assert [file.path for file in listed] == urls(listed)
    assert [path for path, _ in hub.seen].count("/api/datasets/org/name") == 1
    assert (listed[2].bytes, listed[2].etag) == (len(BODY), SHA)
    assert listed[1].etag == hashlib.sha1(b"small").hexdigest()


def test_a_branch_stays_in_the_url_and_is_read_at_its_commit(hub):
    (listed,) = expand(["hf://datasets/org/name@main/data/de/*"], {}, "/")
    assert listed.url == "hf://datasets/org/name@main/data/de/c.gz"
    assert listed.path == f"hf://datasets/org/name@{COMMIT}/data/de/c.gz"
    hub.seen.clear()
    (listed,) = expand([f"hf://datasets/org/name@{COMMIT}/data/de/*"], {}, "/")
    assert [path for path, _ in hub.seen] == [f"/api/datasets/org/name/tree/{COMMIT}/data/de"]


def test_a_tree_on_the_hub(hub):
    root = f"hf://datasets/org/name@{COMMIT}"
    assert {(f.url, f.tree) for f in expand(["hf://datasets/org/name/data/en/"], {}, "/")} == {
        (f"{root}/data/en/a.gz", f"{root}/data/en/"),
        (f"{root}/data/en/b.gz", f"{root}/data/en/"),
    }
    assert {f.tree for f in expand(["hf://datasets/org/name/data/*/"], {}, "/")} == {
        f"{root}/data/en/",
        f"{root}/data/de/",
    }
    assert {f.tree for f in expand(["hf://datasets/org/name/"], {}, "/")} == {f"{root}/"}


def test_a_file_of_a_model_is_fetched_from_the_hub(hub, tmp_path):
    (listed,) = expand(["hf://org/name/tokenizer.json"], {}, "/")
    assert listed.url == f"hf://org/name@{COMMIT}/tokenizer.json"
    assert Path(fetch(listed, tmp_path).path).read_bytes() == b"{}"


def test_the_token_goes_to_the_hub_and_not_with_a_redirect(hub, tmp_path):
    (listed,) = expand(["hf://datasets/org/name/data/en/b.gz"], {}, "/")
    assert fetch(listed, tmp_path).sha256 == SHA
    assert {token for _, token in hub.seen} == {"Bearer hf_secret"}
    assert [headers.get("Authorization") for _, headers in hub.storage.requests] == [None]


def test_what_the_hub_sends_must_have_the_checksum_that_it_records(hub, tmp_path):
    (listed,) = expand(["hf://datasets/org/name/data/en/b.gz"], {}, "/")
    hub.storage.body = BODY[::-1]
    with pytest.raises(InputError, match=f"data/en/b.gz: has sha256 [0-9a-f]{{64}}, wanted {SHA}"):
        fetch(listed, tmp_path)


@pytest.mark.parametrize(
    "pattern", ["hf://datasets/org/name/nope/*.gz", "hf://datasets/org/name/nope.gz", "hf://datasets/other/name/x"]
)
def test_what_the_hub_does_not_have_is_one_line(hub, pattern):
    with pytest.raises(InputError, match=f"^'{re.escape(pattern)}'.*") as caught:
        expand([pattern], {}, "/")
    assert "\n" not in str(caught.value)


# --- S3

S3_SCRIPT = """
import boto3, hashlib, sys
from moto.server import ThreadedMotoServer
import os
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x",
                  AWS_DEFAULT_REGION="us-east-1")
client = boto3.client("s3")
client.create_bucket(Bucket="crawl")
body = bytes(range(256)) * 2000
for key in ("en/a.gz", "en/b.gz", "en/deep/c.gz", "en/.git/x", "en/q[1].gz", "de/", "de/d.gz"):
    client.put_object(Bucket="crawl", Key=key, Body=b"" if key.endswith("/") else body)

from redpajama.raw import decompress
from redpajama.raw.fetch import fetch
from redpajama.raw.listing import expand
from redpajama.errors import InputError
from redpajama.records import Tally

def urls(*patterns):
    return [file.url for file in expand(patterns, {}, "/")]

assert urls("s3://crawl/en/*.gz") == ["s3://crawl/en/a.gz", "s3://crawl/en/b.gz", "s3://crawl/en/q[1].gz"]
assert urls("s3://crawl/en/q[1].gz", "s3://crawl/*/d.gz") == ["s3://crawl/de/d.gz", "s3://crawl/en/q[1].gz"]
tree = expand(["s3://crawl/en/"], {}, "/")
assert [(file.url, file.tree) for file in tree] == [
    (f"s3://crawl/en/{name}", "s3://crawl/en/") for name in ("a.gz", "b.gz", "deep/c.gz", "q[1].gz")]
trees = [file.tree for file in expand(["s3://crawl/*/"], {}, "/")]
assert trees == ["s3://crawl/de/"] + ["s3://crawl/en/"] * 4, trees
(listed,) = expand(["s3://crawl/en/a.gz"], {}, "/")
assert (listed.bytes, listed.etag) == (len(body), hashlib.md5(body).hexdigest())
raw = fetch(listed, "/nowhere", hashlib.sha256(body).hexdigest())
assert raw.path == "s3://crawl/en/a.gz"
tally = Tally()
assert decompress.read_all(raw, tally) == b"" and tally.skipped_bytes == len(body)  # named .gz, and is none

client.put_object(Bucket="crawl", Key="en/new.gz", Body=b"new")  # no listing is remembered
assert "s3://crawl/en/new.gz" in urls("s3://crawl/en/*.gz")
client.put_object(Bucket="crawl", Key="en/a.gz", Body=b"another")
assert expand(["s3://crawl/en/a.gz"], {}, "/")[0].bytes == 7
try:
    fetch(listed, "/nowhere")
    raise SystemExit("not noticed")
except InputError as error:
    assert str(error) == f"s3://crawl/en/a.gz: has 7 bytes, wanted {len(body)}", error
for pattern in ("s3://crawl/nope/*", "s3://crawl/nope/", "s3://crawl/nope.gz", "s3://nobucket/x", "s3://crawl/en"):
    try:
        expand([pattern], {}, "/")
        raise SystemExit(pattern)
    except InputError as error:
        assert str(error).startswith(f"'{pattern}'") and "\\n" not in str(error), error
os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
print("ok", flush=True)
os._exit(0)
"""


def test_s3_is_listed_afresh_and_read_in_place():
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run([sys.executable, "-c", S3_SCRIPT], capture_output=True, text=True, env=clean, timeout=120)
    assert done.stdout == "ok\n", done.stderr[-2000:]


# --- manners


def test_what_lists_and_fetches_loads_no_slow_library():
    modules = "sys.modules.keys() & {'fsspec', 'requests', 'boto3'}"
    script = f"import sys; from redpajama.raw import fetch, listing; print(*({modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@needs_shared
def test_real_samples_are_listed_and_measured_as_their_index_says(tmp_path):
    rows = [line.split("\t")[:3] for line in (SHARED / "INDEX.tsv").read_text().splitlines()]
    known = {row[0]: row for row in rows if row[0].startswith("c4/")}
    listed = expand(["c4/**/*.gz"], {}, SHARED)
    assert len(listed) >= 4
    for file in listed:
        raw = fetch(file, tmp_path)
        assert known[file.url] == [raw.url, str(raw.bytes), raw.sha256]
