"""Downloads from servers with bad manners, and our own manners towards them: several processes, one machine."""

import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from redpajama.errors import InputError
from redpajama.raw import download, hosts
from redpajama.raw.download import NoAnswer

BODY = os.urandom(1) + bytes(range(251)) * 12_000  # 3 MB
SHA = hashlib.sha256(BODY).hexdigest()


class Server:
    """Serves BODY under every path; `misdeeds` are taken one a request for the body. Counts what is under way."""

    def __init__(self):
        self.misdeeds, self.requests = [], []  # (time, method, Range)
        self.under_way, self.most = Counter(), Counter()  # by method
        self.hold_seconds, self.body, self.etag = 0.0, BODY, '"v1"'
        self._lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                web.handle(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients break off
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle(self, handler):
        with self._lock:
            self.requests.append((time.time(), handler.command, handler.headers.get("Range", "")))
            self.under_way[handler.command] += 1
            self.most |= self.under_way
            misdeed = self.misdeeds.pop(0) if self.misdeeds and handler.command == "GET" else None
        try:
            time.sleep(self.hold_seconds)
            (misdeed or Server.behave)(self, handler)
        finally:
            with self._lock:
                self.under_way[handler.command] -= 1

    def behave(self, handler, *, end: int | None = None, length: int | None = None):
        """Answer a range or all; `end` bytes of it, or with a Content-Length that is not so."""
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        rest = self.body[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(rest) if length is None else length))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(rest[:end])
        handler.close_connection = end is not None or length is not None

    @property
    def ranges(self) -> list[int]:
        """Where each request for the body began."""
        return [int(found[6:-1] or 0) if found else 0 for _, method, found in self.requests if method == "GET"]


def reset_after(count: int):
    """Break the connection by a reset after so many bytes: what the client has not read yet may be lost."""

    def misdeed(server, handler):
        server.behave(handler, end=count)
        handler.wfile.flush()
        time.sleep(0.05)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return misdeed


def stall_after(count: int):
    """Send so many bytes, then nothing for longer than anybody waits."""

    def misdeed(server, handler):
        server.behave(handler, end=count)
        handler.wfile.flush()
        time.sleep(1)

    return misdeed


def answer(status: int, **headers: str):
    def misdeed(server, handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return misdeed


@pytest.fixture
def server():
    one = Server()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def impatient(monkeypatch):
    """Between two tries there is hardly any time."""
    monkeypatch.setattr(download, "FIRST_DELAY_SECONDS", 0.001)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- connections that break


def test_a_connection_that_always_breaks_after_some_bytes_still_arrives(server, tmp_path, impatient):
    server.misdeeds = [reset_after(200_000)] * 30  # more tries than MAX_TRIES, each shorter than CHUNK_BYTES
    download.download(f"{server.url}/a", tmp_path / "a", len(BODY), '"v1"')
    assert digest(tmp_path / "a") == SHA
    assert server.ranges == sorted(set(server.ranges)), "each try goes on where the last one ended"
    assert len(server.ranges) > download.MAX_TRIES


def test_a_stalled_connection_keeps_what_had_arrived(server, tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", (1, 0.2))
    server.misdeeds = [stall_after(70_000)]
    download.download(f"{server.url}/a", tmp_path / "a", len(BODY), '"v1"')
    assert (digest(tmp_path / "a"), server.ranges) == (SHA, [0, 70_000])


def test_a_body_in_chunks_is_read_to_its_end_and_a_cut_one_again(server, tmp_path, impatient):
    def chunked(end: bytes):
        def misdeed(server, handler):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for at in range(0, len(BODY), 500_000):
                piece = BODY[at : at + 500_000]
                handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            handler.wfile.write(end)
            handler.close_connection = True

        return misdeed

    server.misdeeds = [chunked(b""), chunked(b"0\r\n\r\n")]
    download.download(f"{server.url}/a", tmp_path / "a")
    assert (digest(tmp_path / "a"), len(server.ranges)) == (SHA, 2)


def test_a_content_length_that_is_too_short_is_refused_where_the_size_is_known(server, tmp_path):
    server.misdeeds = [lambda server, handler: server.behave(handler, length=1_000)]
    with pytest.raises(InputError, match=f"/a: has 1000 bytes, wanted {len(BODY)}"):
        download.download(f"{server.url}/a", tmp_path / "a", len(BODY), '"v1"')
    assert not list(tmp_path.glob("a.part"))


def test_a_content_length_that_is_too_long_is_given_up_and_no_file_is_made(server, tmp_path, impatient):
    server.misdeeds = [lambda server, handler: server.behave(handler, length=len(server.body) + 10)] * 30
    with pytest.raises(NoAnswer, match="given up after 8 tries"):
        download.download(f"{server.url}/a", tmp_path / "a", 0, '"v1"')
    assert not (tmp_path / "a").exists()


def test_a_small_file_is_read_whole_or_not_at_all(server, impatient):
    server.misdeeds = [reset_after(1000), answer(500)]
    assert download.read(f"{server.url}/a", len(BODY)) == BODY
    with pytest.raises(InputError, match="/a: has more than 1,000,000 bytes"):
        download.read(f"{server.url}/a", 1_000_000)
    server.misdeeds = [answer(404)]
    with pytest.raises(InputError, match="/a: HTTP 404 Not Found"):
        download.read(f"{server.url}/a", len(BODY))


# --- a copy from an object store


def test_a_broken_copy_goes_on_where_it_ended(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(BODY)
    seeks = []

    class Breaking:
        def __init__(self, limit):
            self.file, self.limit = open(source, "rb"), limit  # noqa: SIM115 (closed below)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def seek(self, offset):
            seeks.append(offset)
            self.file.seek(offset)

        def read(self, count):
            if self.limit is not None and self.file.tell() >= self.limit:
                raise OSError("connection lost")
            return self.file.read(count)

    arguments = ("s3://b/k", tmp_path / "k", len(BODY), "v1")
    with pytest.raises(OSError, match="connection lost"):
        download.copy(lambda: Breaking(2_000_000), *arguments)
    assert download.copy(lambda: Breaking(None), *arguments)
    assert (digest(tmp_path / "k"), seeks) == (SHA, [0, 2 << 20])
    assert not download.copy(lambda: Breaking(0), *arguments)
    with pytest.raises(InputError, match=f"has {len(BODY)} bytes, wanted 7"):
        download.copy(lambda: Breaking(None), "s3://b/k", tmp_path / "k", 7, "v2")


# --- manners

SCRIPT = """
import sys, threading
from pathlib import Path
from redpajama.raw import download, hosts
url, folder, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
def bring(number):
    download.ask(f"{url}/{number}")
    download.download(f"{url}/{number}", folder / str(number))
threads = [threading.Thread(target=bring, args=(number,)) for number in range(first, first + 5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def processes(server, folder: Path, count: int = 3, **environment: str) -> None:
    """So many processes with five threads, each of which brings one file."""
    command = [sys.executable, "-c", SCRIPT, server.url, str(folder)]
    env = {**os.environ, **environment, "NO_PROXY": "127.0.0.1"}
    running = [subprocess.Popen([*command, str(5 * number)], env=env) for number in range(count)]
    assert [each.wait(60) for each in running] == [0] * count
    assert {digest(folder / str(number)) for number in range(5 * count)} == {hashlib.sha256(server.body).hexdigest()}


@pytest.mark.parametrize("limit", [1, 3])
def test_several_processes_together_never_ask_a_host_for_more_than_the_limit(server, tmp_path, limit):
    server.hold_seconds, server.body = 0.05, b"small"
    processes(server, tmp_path, REDPAJAMA_PER_HOST=str(limit))
    assert 1 <= server.most["GET"] <= limit
    assert 1 <= server.most["HEAD"] <= limit  # questions have places of their own
    assert len(server.requests) == 30


def test_transfers_alone_reach_the_limit_and_never_pass_it(server, tmp_path):
    server.hold_seconds, server.body = 0.05, b"small"
    threads = [
        threading.Thread(target=download.download, args=(f"{server.url}/{number}", tmp_path / str(number)))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.most["GET"] == hosts.MAX_PER_HOST


def test_what_a_host_asks_of_one_process_all_of_them_do(server, tmp_path):
    server.body = b"small"
    server.misdeeds = [answer(429, Retry_After="2")]
    processes(server, tmp_path)
    gets = [when for when, method, _ in server.requests if method == "GET"]
    asked = gets[0]
    during = [when - asked for when in gets if asked + 0.3 < when < asked + 1.9]
    assert not during, "nobody asks while the host wants to be left alone"
    assert len(gets) == 16


def test_a_pause_is_for_one_host_and_ends_and_the_longer_of_two_holds(monkeypatch):
    slept, now = [], time.time
    monkeypatch.setattr(hosts.time, "sleep", slept.append)
    monkeypatch.setattr(hosts.time, "time", lambda: now() + sum(slept))
    hosts.pause("https://one.example/a", 30)
    hosts.pause("https://one.example/a", 1)  # of a request that was under way
    with hosts.place("https://two.example/a", hosts.TRANSFER), hosts.place("http://one.example:81/", hosts.TRANSFER):
        assert not slept
    for _ in range(2):
        with hosts.place("https://user:secret@one.example/b", hosts.QUESTION):
            assert slept == [pytest.approx(30, abs=1)]
    assert not [name for name in os.listdir(os.environ["REDPAJAMA_LOCKS"]) if "secret" in name]


def test_the_place_of_a_killed_process_is_free(server, tmp_path):
    server.hold_seconds = 30
    code = "import sys; from redpajama.raw import download; download.ask(sys.argv[1])"
    env = {**os.environ, "REDPAJAMA_PER_HOST": "1", "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/a"], env=env)
    while not server.requests:
        time.sleep(0.02)
    process.kill()
    process.wait()
    server.hold_seconds = 0
    os.environ["REDPAJAMA_PER_HOST"] = "1"
    try:
        assert download.ask(f"{server.url}/a").bytes == len(BODY)
    finally:
        del os.environ["REDPAJAMA_PER_HOST"]


def test_an_answer_says_where_a_redirect_leads_and_what_was_refused(server, impatient):
    elsewhere = f"http://localhost:{urlsplit(server.url).port}/b"

    def redirect(server, handler):
        answer(301, Location=elsewhere)(server, handler)

    original = server.handle
    server.handle = lambda handler: redirect(server, handler) if handler.path == "/old" else original(handler)
    found = download.ask(f"{server.url}/old")
    assert (found.status, found.url, found.bytes) == (200, elsewhere, len(BODY))
    server.handle = lambda handler: answer(410)(server, handler)
    assert download.ask(f"{server.url}/gone")[:3] == (410, "Gone", 0)
    server.handle = lambda handler: answer(502)(server, handler)
    with pytest.raises(NoAnswer, match="given up after 4 tries: HTTP 502"):
        download.ask(f"{server.url}/ill")
