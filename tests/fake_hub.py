"""Servers on this machine: the web with a log of requests and bad habits on demand, the Hugging Face hub, and S3.

The hub's answers have the shape of the real one's (huggingface.co/docs/hub/api), as far as listing and reading a
repository goes; files in LFS are served from another host, as the real hub does.
"""

import base64
import hashlib
import json
import posixpath
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from moto.server import ThreadedMotoServer

HERE = {"NO_PROXY": "127.0.0.1,localhost"}  # environment of whoever asks these servers


class Request(NamedTuple):
    method: str
    path: str
    range: str
    token: str


@dataclass
class Web:
    """Files by path, without the `/` in front. `cuts[path] = n`: its next n answers end in the middle of the body."""

    files: dict[str, bytes]
    cuts: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def bodies(self, path: str = "") -> list[Request]:
        """The GETs of a path so far, or of all files."""
        wanted = [path] if path else self.files
        return [each for each in self.requests if each.method == "GET" and each.path in wanted]

    def answer(self, handler: "Handler", path: str) -> None:
        if path not in self.files:
            return handler.finish_with(404)
        return handler.send_file(self.files[path], cut=self._take_cut(path) if handler.command == "GET" else False)

    def _take_cut(self, path: str) -> bool:
        left = self.cuts.get(path, 0)
        self.cuts[path] = max(0, left - 1)
        return left > 0


@dataclass
class Hub(Web):
    """Repositories: `files` are `ORG/NAME/PATH`, or `datasets/ORG/NAME/PATH`. Those in `.gz` are in LFS, at `cdn`."""

    cdn: Web | None = None
    gated: str = ""  # the token that files, not listings, are given to

    @property
    def commit(self) -> str:
        """The head of every repository: another one when any file is another."""
        state = [[path, hashlib.sha1(data).hexdigest()] for path, data in sorted(self.files.items())]
        return hashlib.sha1(json.dumps(state).encode()).hexdigest()

    def downloads(self) -> list[Request]:
        """The GETs of files so far, here and at the CDN."""
        return [each for each in self.requests if "/resolve/" in each.path] + self.cdn.bodies()

    def answer(self, handler: "Handler", path: str) -> None:
        repo = r"((?:datasets/)?\w+/\w+)"
        path = path.replace("api/models/", "api/")
        if match := re.fullmatch(rf"api/{repo}(?:/revision/(\w+))?", path):
            return self._repository(handler, match[1], match[2] or "main")
        if match := re.fullmatch(rf"api/{repo}/(tree|paths-info)/(\w+)(?:/(.*))?", path):
            return self._entries(handler, *match.groups())
        if match := re.fullmatch(rf"{repo}/resolve/(\w+)/(.+)", path):
            return self._resolve(handler, *match.groups())
        return handler.finish_with(404)

    def _repository(self, handler: "Handler", repo: str, revision: str) -> None:
        if revision not in ("main", self.commit) or not self._paths(repo):
            return handler.finish_with(404, {"X-Error-Code": "RepoNotFound"})
        return handler.send_json({"id": repo.removeprefix("datasets/"), "sha": self.commit, "private": False})

    def _entries(self, handler: "Handler", repo: str, kind: str, revision: str, folder: str | None) -> None:
        if revision != self.commit:
            return handler.finish_with(404, {"X-Error-Code": "RevisionNotFound"})
        if kind == "paths-info":
            wanted = parse_qs(handler.body().decode())["paths"]
            return handler.send_json([self._file(repo, path) for path in self._paths(repo) if path in wanted])
        below = f"{folder.rstrip('/')}/" if folder else ""
        paths = [path for path in self._paths(repo) if path.startswith(below)]
        if below and not paths:
            return handler.finish_with(404, {"X-Error-Code": "EntryNotFound"})
        folders = {posixpath.dirname(path) for path in paths} - {"", below.rstrip("/")}
        tree = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": each} for each in sorted(folders)]
        return handler.send_json(tree + [self._file(repo, path) for path in paths])

    def _resolve(self, handler: "Handler", repo: str, revision: str, path: str) -> None:
        if revision not in ("main", self.commit) or path not in self._paths(repo):
            return handler.finish_with(404, {"X-Error-Code": "EntryNotFound"})
        if self.gated and handler.headers.get("Authorization") != f"Bearer {self.gated}":
            return handler.finish_with(401, {"X-Error-Code": "GatedRepo"})
        if path.endswith(".gz"):
            return handler.finish_with(302, {"Location": f"{self.cdn.url}/{repo}/{path}"})
        return handler.send_file(self.files[f"{repo}/{path}"], {"X-Repo-Commit": self.commit})

    def _paths(self, repo: str) -> list[str]:
        return sorted(path.removeprefix(f"{repo}/") for path in self.files if path.startswith(f"{repo}/"))

    def _file(self, repo: str, path: str) -> dict:
        data = self.files[f"{repo}/{path}"]
        entry = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if path.endswith(".gz"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry


@dataclass
class Uploads(Web):
    """A hub that data sets are uploaded to; those of 1 KB and more in LFS. `fails = n`: the n-th commit is refused."""

    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    fails: int = 0
    token: str = ""  # the only one that is known; "": any

    def answer(self, handler: "Handler", path: str) -> None:
        sent = handler.body()
        if handler.command == "PUT":
            self.objects[posixpath.basename(path)] = sent
            return handler.finish_with(200)
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return handler.finish_with(401)
        if match := re.fullmatch(r"datasets/user/corpus/resolve/main/(.+)", path):
            return handler.send_file(self.files[match[1]], {"X-Repo-Commit": "0" * 40})
        if path == "api/repos/create":
            return handler.send_json({"url": f"{self.url}/datasets/user/corpus", "id": "user/corpus"})
        if path.endswith("/tree/main"):
            return handler.send_json([self._entry(name) for name in sorted(self.files)])
        if path.endswith("/preupload/main"):
            asked = json.loads(sent)["files"]
            modes = [{"path": each["path"], "uploadMode": _mode(each["size"]), "shouldIgnore": False} for each in asked]
            return handler.send_json({"files": modes})
        if path.endswith("/info/lfs/objects/batch"):
            return handler.send_json(
                {"transfer": "basic", "objects": list(map(self._action, json.loads(sent)["objects"]))}
            )
        if path.endswith("/commit/main"):
            return self._commit(handler, [json.loads(line) for line in sent.splitlines()])
        return handler.send_json({"id": "user/corpus", "sha": "0" * 40, "private": False})

    def _action(self, asked: dict) -> dict:
        there = asked["oid"] in self.objects
        upload = {"actions": {"upload": {"href": f"{self.url}/lfs/{asked['oid']}", "header": {}}}}
        return {"oid": asked["oid"], "size": asked["size"], **({} if there else upload)}

    def _commit(self, handler: "Handler", lines: list[dict]) -> None:
        if len(self.commits) + 1 == self.fails:
            self.fails = 0
            return handler.finish_with(403)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
        self.commits.append([line["value"]["path"] for line in lines if "path" in line["value"]])
        done = {
            "commitUrl": f"{self.url}/datasets/user/corpus/commit/{'0' * 40}",
            "commitOid": "0" * 40,
            "pullRequestUrl": None,
            "success": True,
        }
        return handler.send_json(done)

    def _entry(self, name: str) -> dict:
        data = self.files[name]
        oid = hashlib.sha1(b"blob %d\x00" % len(data) + data).hexdigest()
        entry = {"type": "file", "path": name, "size": len(data), "oid": oid}
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry | ({"lfs": lfs} if _mode(len(data)) == "lfs" else {})


def _mode(size: int) -> str:
    return "lfs" if size >= 1024 else "regular"


class Handler(BaseHTTPRequestHandler):
    """HTTP for a Web: ETag, HEAD, ranges with If-Range, and cut connections."""

    web: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        said = (self.headers.get(name, "") for name in ("Range", "Authorization"))
        self.web.requests.append(Request(self.command, path, *said))
        self.web.answer(self, path)

    do_HEAD = do_POST = do_PUT = do_GET

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def finish_with(self, status: int, headers: dict[str, str] | None = None) -> None:
        self._send(status, {"Content-Length": "0", **(headers or {})}, b"")

    def send_json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._send(200, {"Content-Length": str(len(data)), "Content-Type": "application/json"}, data)

    def send_file(self, data: bytes, more: dict[str, str] | None = None, cut: bool = False) -> None:
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        status, start, headers = 200, 0, {"ETag": etag, "Accept-Ranges": "bytes", **(more or {})}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) == etag:
            status, start = 206, int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        rest = data[start:]
        self._send(status, {**headers, "Content-Length": str(len(rest))}, rest[: len(rest) // 2] if cut else rest)
        self.close_connection = cut

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Requests are in `web.requests`."""


@contextmanager
def serve(web: Web):
    """Serve `web` on a free port of this machine; sets and gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("WebHandler", (Handler,), {"web": web}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web.url
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve_s3():
    """(client, environment for its users) of an S3 server with an empty bucket called `bucket`."""
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
    client = boto3.client("s3", endpoint_url=url, **dict(zip(names, keys.values(), strict=True)))
    client.create_bucket(Bucket="bucket")
    try:
        yield client, {**keys, **HERE, "AWS_ENDPOINT_URL": url}
    finally:
        server.stop()
