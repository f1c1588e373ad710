"""What goes wrong around a build is one line, with the right status, soon."""

import errno
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import aiohttp
import botocore.exceptions as botocore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import raw_file
from corpora import cli, write_corpus

from redpajama.engine import faults, homes
from redpajama.engine.parts import File
from redpajama.engine.store import Store
from redpajama.engine.tables import read_table
from redpajama.errors import BuildFailed
from redpajama.raw import parquet, tables
from redpajama.raw.io import RawFile
from redpajama.raw.zip import read_zip
from redpajama.records import Tally

ALONE = 'name = "m"\nseed = 1\n[[source]]\nname = "web"\npipeline = "c4"\ninputs = ["web-0.json.gz"]\n'


def one_line(result, status: int, *wanted: str) -> None:
    assert result.returncode == status, result.stderr
    assert result.stderr.startswith("redpajama: ")
    assert result.stderr.count("\n") == 1
    for each in wanted:
        assert each in result.stderr


def timed(*arguments, **environment):
    started = time.monotonic()
    result = cli(*arguments, **environment)
    assert time.monotonic() - started < 15
    return result


@pytest.mark.parametrize(
    ("environment", "wanted", "status"),
    [
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "no credentials for the object store", 1),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "AWS_ENDPOINT_URL: nobody answers at 127.0.0.1:9",
            2,
        ),
    ],
)
def test_a_store_without_credentials_or_without_an_answer_is_one_line(
    tmp_path, monkeypatch, environment, wanted, status
):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    manifest = write_corpus(tmp_path / "c")
    environment = {"AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none", **environment}
    for command in (["build", manifest, "--out"], ["status"]):
        one_line(timed(*command, "s3://bucket/r", **environment), status, wanted)


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    manifest = write_corpus(tmp_path / "c")
    (tmp_path / "file").write_text("x")
    one_line(timed("build", manifest, "--out", tmp_path / "file/r"), 2, "outputs cannot be written there")


def test_a_mistake_of_ours_in_a_command_is_one_line_and_says_how_to_report_it(tmp_path):
    code = (
        "import sys, redpajama.cli as cli, redpajama.commands.arguments as a\n"
        "from redpajama.commands import status\n"
        "def fail(*_): raise LookupError('of ours')\n"
        "status.open_root = fail\n"
        "sys.exit(cli.run(['status', 'r']))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    one_line(result, 1, "LookupError: of ours", "please report it with")
    [log] = tmp_path.glob("redpajama-*.log")
    assert "Traceback" in log.read_text()


def test_too_many_bad_units_name_the_whole_path_of_the_ledger_and_the_command_that_shows_it(tmp_path):
    write_corpus(tmp_path / "c")
    (tmp_path / "c/web-0.json.gz").write_bytes(b"no gzip")
    (tmp_path / "c/m.toml").write_text(ALONE)
    root = tmp_path / "r"
    result = cli("build", tmp_path / "c/m.toml", "--out", root, "--until", "documents")
    one_line(result, 1, "units are bad", f"the ledger is {root}/documents/web-")
    command = result.stderr.partition("`redpajama ")[2].partition("`")[0]
    shown = cli(*command.split())
    assert shown.returncode == 0, shown.stderr
    assert "quarantined by documents" in shown.stdout
    assert cli("why", root, "https://example.org/1").returncode == 1


def test_a_source_of_which_nothing_is_left_says_why_with_counts(tmp_path):
    manifest = write_corpus(tmp_path / "c", min_words=5000)
    one_line(
        cli("build", manifest, "--out", tmp_path / "r"),
        1,
        "no document of it is left",
        "'news': 180 read, min_words 180",
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(104, "reset"), faults.Kind.PASSING),
        (TimeoutError("slow"), faults.Kind.PASSING),
        (OSError(28, "No space left on device"), faults.Kind.REFUSED),
        (PermissionError(13, "Permission denied", "/x"), faults.Kind.REFUSED),
        (MemoryError(), faults.Kind.REFUSED),
        (KeyError("x"), faults.Kind.OURS),
        (botocore.ConnectionClosedError(endpoint_url="https://s"), faults.Kind.PASSING),
        (botocore.ReadTimeoutError(endpoint_url="https://s"), faults.Kind.PASSING),
        (botocore.EndpointConnectionError(endpoint_url="https://s"), faults.Kind.REFUSED),
        (aiohttp.ServerDisconnectedError(), faults.Kind.PASSING),
    ],
)
def test_an_exception_is_one_of_three_kinds(error, kind):
    assert faults.explain(error).kind is kind
    assert "\n" not in faults.explain(error).told("a part", "a log")


RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
GONE = FileNotFoundError(errno.ENOENT, "No such file or directory")


class Breaking(io.RawIOBase):
    """A file of which a store gives the first bytes."""

    def __init__(self, data: bytes, good: int, error: Exception) -> None:
        self.file, self.good, self.error = io.BytesIO(data), good, error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *place) -> int:
        return self.file.seek(*place)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer) -> int:
        if self.file.tell() + len(buffer) > self.good and self.file.tell() < self.good + 4:
            raise self.error
        return self.file.readinto(buffer)


def as_parquet(path):
    pq.write_table(TABLE, path)
    return lambda file, tally: parquet.rows(file, ("text",), tally)


def as_arrow(path):
    with pa.ipc.new_stream(str(path), TABLE.schema) as stream:
        stream.write_table(TABLE, max_chunksize=100)
    return tables.arrow_rows


def as_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "x" * 10_000)
    return lambda file, tally: read_zip(file, tally, 1 << 20)


TABLE = pa.table({"text": [f"text {number}" * 30 for number in range(1000)]})


@pytest.mark.parametrize("error", [RESET, TimeoutError("slow"), botocore.ReadTimeoutError(endpoint_url="https://s")])
@pytest.mark.parametrize("write", [as_parquet, as_arrow, as_zip])
def test_a_store_that_fails_while_an_input_is_read_is_no_damage_of_it(tmp_path, monkeypatch, write, error):
    read, tally = write(tmp_path / "x"), Tally()
    file = raw_file(tmp_path / "x")
    monkeypatch.setattr(RawFile, "open", lambda file: Breaking(Path(file.path).read_bytes(), 1000, error))
    with pytest.raises(type(error)):
        list(read(file, tally))
    assert tally.skipped_bytes == 0


@pytest.mark.parametrize(
    ("error", "raised"), [(RESET, type(RESET)), (TimeoutError("x"), TimeoutError), (GONE, BuildFailed)]
)
def test_a_store_that_fails_while_a_table_is_read_is_no_damage_of_it(tmp_path, monkeypatch, error, raised):
    """What is damaged is made again, what may pass is read again."""
    store = Store(str(tmp_path))
    pq.write_table(TABLE, tmp_path / "a.parquet")

    def fail(*_):
        raise error

    monkeypatch.setattr(Store, "open", fail)
    with pytest.raises(raised):
        read_table(store, File("a.parquet", 10))
    with pytest.raises(raised), homes._opened(store, File("a.parquet", 10)):
        pytest.fail("it is open")


def test_no_secret_of_a_url_reaches_a_log_or_a_line():
    with pytest.raises(LookupError) as raised:
        raise LookupError("https://u:s3cr3t@h/x?sig=" + "s3cr3t")
    told = faults.traceback_of(raised.value).partition("LookupError: ")[2]
    assert told == "https://h/x\n"
    assert "s3cr3t" not in json.dumps(faults.explain(raised.value))
