"""Hostile texts on a terminal, secrets in URLs, and things that would never end."""

import io
import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import raw_file
from corpora import cli, digest, write_corpus, write_rows
from fake_hub import Web, serve
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from redpajama.commands import screen, terminal
from redpajama.errors import BuildFailed, InputError, UserError
from redpajama.extract import html
from redpajama.raw import download, listing, parquet, parquet_pages
from redpajama.raw.io import without_secrets
from redpajama.records import Reason, Tally
from redpajama.unsigned import unsigned, unsigned_all, unsigned_text
from redpajama.visible import UNSAFE, visible, visible_json

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\x7f\rover\u202egnp.exe\u2066"
SHOWN = "␛]0;owned␇␛[31mred\ufffd2J␡␍over\ufffdgnp.exe\ufffd"


# ---- terminals


@given(st.text())
def test_what_is_shown_has_no_control_and_keeps_every_place(text):
    assert not UNSAFE.search(visible(text))
    assert len(visible(text)) == len(text)
    assert [a for a, b in zip(text, visible(text), strict=True) if a != b] == UNSAFE.findall(text)
    assert json.loads(visible_json(json.dumps({"a": text}, ensure_ascii=False, indent=1))) == {"a": text}
    assert not UNSAFE.search(visible_json(json.dumps(text, ensure_ascii=False)))


@pytest.fixture
def printed():
    """A terminal with colours, and what is written to it."""
    out = io.StringIO()
    return terminal.Terminal(file=out, force_terminal=True, width=200, highlight=False, markup=False), out


@pytest.mark.parametrize("wrap", [str, Text, lambda text: Text(text, style="bold"), "table", "title"])
def test_no_text_steers_the_terminal_however_it_is_printed(printed, wrap):
    console, out = printed
    if wrap in ("table", "title"):
        table = screen.table(HOSTILE if wrap == "title" else "a")
        table.add_row("x" if wrap == "title" else Text(HOSTILE, style="red"))
        console.print(table)
    else:
        console.print(wrap(HOSTILE), soft_wrap=True)
    plain = out.getvalue()
    for own in ("\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[1;31m"):
        plain = plain.replace(own, "")
    assert not UNSAFE.search(plain)
    assert "owned" in plain


def test_a_hostile_id_is_shown_by_every_command_with_pictures(tmp_path):
    root = tmp_path / "r"
    row = {"text": f"Some words about rivers {HOSTILE} and stones and letters and gardens.", "timestamp": "t"}
    (tmp_path / "c").mkdir()
    (tmp_path / "c/a.jsonl").write_text(json.dumps({**row, "url": f"https://h/{HOSTILE}"}) + "\n")
    manifest = tmp_path / "m.toml"
    manifest.write_text('name = "m"\nseed = 1\n[[source]]\nname = "web"\npipeline = "c4"\ninputs = ["c/a.jsonl"]\n')
    assert cli("build", manifest, "--out", root, "--until", "documents").returncode == 0
    for arguments in (["show", root], ["show", root, "--json"], ["why", root, f"https://h/{HOSTILE}"]):
        result = cli(*arguments)
        assert result.returncode == 0, result.stderr
        assert not UNSAFE.search(result.stdout)
        assert "gnp.exe" in result.stdout
    result = cli("why", root, HOSTILE)
    assert not UNSAFE.search(result.stdout + result.stderr)
    result = cli("build", f"{tmp_path}/{HOSTILE}.toml", "--out", root)
    assert (result.returncode, UNSAFE.search(result.stderr)) == (2, None)
    assert SHOWN.replace("␍", " ") in result.stderr  # a message is one line


# ---- secrets


SIGNED = {
    "https://u:pw@h:80/a.gz": "https://h:80/a.gz",
    "https://tok@h/a.gz?x=1": "https://h/a.gz?x=1",
    "https://h/a?X-Amz-Algorithm=A&X-Amz-Signature=s3cr3t&versionId=3": "https://h/a?versionId=3",
    "https://h/a?GoogleAccessId=x&Expires=1&Signature=s3cr3t": "https://h/a",
    "https://h/a?X-Goog-Signature=s3cr3t#f": "https://h/a#f",
    "https://h/a?sv=1&se=2&sr=b&sp=r&sig=s3cr3t": "https://h/a",
    "https://h/a?token=s3cr3t&b=2": "https://h/a?b=2",
    "https://h/a?%58-Amz-Signature=s3cr3t&access_token=s3cr3t": "https://h/a",
    "https://h?token=s3cr3t": "https://h",
    "https://h/a?private_token=s3cr3t&accessToken=s3cr3t&client_secret=s3cr3t": "https://h/a",
    "https://h/a?app_token=s3cr3t&%24%24app_token=s3cr3t&csrf_token=s3cr3t&bot-token=s3cr3t": "https://h/a",
    "https://h/a?next_page_token=3&sync_token=4": "https://h/a?next_page_token=3&sync_token=4",
    "https://h/a?page_token=3&nextToken=4&continuation-token=5": "https://h/a?page_token=3&nextToken=4&continuation-token=5",
    "https://h/a?se=2&expires=3": "https://h/a?se=2&expires=3",  # of no signature
    "hf://datasets/o/n@main/a.parquet": "hf://datasets/o/n@main/a.parquet",
    "s3://bucket/a-?.gz": "s3://bucket/a-?.gz",
    "https://h/u@x/a?tokens=3": "https://h/u@x/a?tokens=3",
    "a/b?token=1": "a/b?token=1",
}


@pytest.mark.parametrize("url", SIGNED)
def test_a_url_is_told_without_what_only_its_owner_may_know(url):
    assert unsigned(url) == unsigned(SIGNED[url]) == SIGNED[url]
    if "://" in url:
        assert unsigned_text(f"{url}: HTTP 403, see '{url}'.") == f"{SIGNED[url]}: HTTP 403, see '{SIGNED[url]}'."
    assert unsigned_all({url: [url, {"a": url}]}) == {SIGNED[url]: [SIGNED[url], {"a": SIGNED[url]}]}


def test_no_error_of_ours_tells_a_secret():
    said = "Max retries exceeded with url: /a?X-Amz-Signature=s3cr3t&b=1 (proxy http://u:s3cr3t@p:1/)"
    for kind in (UserError, BuildFailed, InputError, download.NoAnswer):
        assert "s3cr3t" not in str(kind(said))
        assert "b=1" in str(kind(said))


def test_one_object_under_two_signatures_is_one_input_and_no_secret_is_written(tmp_path):
    write_corpus(tmp_path / "c")
    write_rows(tmp_path / "a.gz", 0, 60)
    web, root = Web({"a.json.gz": (tmp_path / "a.gz").read_bytes()}), tmp_path / "r"
    with serve(web) as url:
        digests = []
        for number, secret in enumerate(["s3cr3t1", "s3cr3t2"]):
            address = url.replace("://", "://user:s3cr3t@") + f"/a.json.gz?X-Amz-Expires=9&X-Amz-Signature={secret}"
            manifest = tmp_path / f"m{number}.toml"
            source = f'name = "web"\npipeline = "c4"\ninputs = ["{address}"]\nsha256 = {{ "{address}" = "{sha(web)}" }}'
            manifest.write_text(f'name = "m"\nseed = 1\n[[source]]\n{source}\n')
            said = [cli("plan", manifest, "--out", root), cli("plan", manifest, "--out", root, "--json")]
            said += [cli("doctor", manifest), cli("build", manifest, "--out", root, "--until", "documents")]
            assert [each.returncode for each in said] == [0] * 4, said[-1].stderr
            assert "s3cr3t" not in "".join(each.stdout + each.stderr for each in said)
            digests.append(digest(root))
        assert [each.path for each in web.requests if each.method == "GET" and not each.range] == ["a.json.gz"]
    assert digests[0] == digests[1]
    everything = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"s3cr3t" not in everything
    assert not [path for path in root.rglob("*") if "s3cr3t" in str(path)]


def test_inputs_that_differ_in_what_looks_like_a_secret_are_not_merged(tmp_path):
    class Each(Web):
        """A file of its own for each query."""

        def answer(self, handler, path):
            handler.send_file(handler.path.encode())

    class Same(Web):
        def answer(self, handler, path):
            handler.send_file(b"the same")

    with serve(Each({})) as url:
        pages = [f"{url}/a?page_token={number}" for number in range(3)]
        assert [each.url for each in listing.expand(pages, {}, tmp_path)] == pages
        pairs = [f"{url}/a?pass={number}" for number in range(2)]
        with pytest.raises(InputError, match="differ only in what is taken for a password"):
            listing.expand(pairs, {}, tmp_path)
        apart = [vars(listing.expand([each], {}, tmp_path)[0]) for each in pairs]  # of two sources
        with pytest.raises(UserError, match="differ only in what is taken for a password"):
            without_secrets(apart)
    with serve(Same({})) as url:
        assert len(listing.expand([f"{url}/a?sig={number}" for number in range(2)], {}, tmp_path)) == 1


def sha(web):
    import hashlib

    return hashlib.sha256(web.files["a.json.gz"]).hexdigest()


def test_a_refused_signed_url_is_told_without_its_signature(tmp_path):
    manifest = tmp_path / "m.toml"
    with serve(Web({})) as url:
        manifest.write_text(
            f'name = "m"\nseed = 1\n[[source]]\nname = "web"\npipeline = "c4"\ninputs = ["{url}/a.gz?sig=s3cr3t"]\n'
        )
        for command in (["plan", manifest, "--json"], ["plan", manifest], ["build", manifest]):
            result = cli(*command, "--out", tmp_path / "r")
            assert "s3cr3t" not in result.stdout + result.stderr
            assert f"{url}/a.gz" in result.stdout + result.stderr


# ---- what would never end


def test_an_element_of_300_000_attributes_is_read_in_seconds_and_keeps_its_text():
    for attribute in ("a{}=b", 'a{}=">"', "a{}", "a{}='x>' b"):
        tag = " ".join(attribute.format(number) for number in range(300_000))
        started = time.monotonic()
        text = html.title_and_text(f"<p>before</p><div {tag}><p>inside</p></div><p>behind</p>", False)[1]
        assert text.split() == ["before", "inside", "behind"]
        assert time.monotonic() - started < 10
    assert len(html.cut_attributes("<a " * 4095 + ">" + "<a " * 4095 + ">")) == 2 * len("<a " * 4095 + ">")


def test_elements_of_few_attributes_stay_as_they_are():
    page = "<a b=1 c='>' d=\">\" e><!-- <x --><p>1 < 2 && a<b</p>" * 10
    assert html.cut_attributes(page) == page
    assert not html.has_many_attributes(page * 1000)


def rows_of(path: Path) -> tuple[int, list]:
    tally = Tally()
    count = sum(1 for _ in parquet.rows(raw_file(path), ["text"], tally))
    return count, [(row.reason, row.evidence["error"]) for row in tally.rows]


@pytest.mark.parametrize("options", [{"use_dictionary": False}, {}, {"data_page_version": "2.0"}])
def test_a_parquet_value_above_the_limit_is_told_from_its_page_header(tmp_path, monkeypatch, options):
    monkeypatch.setattr(parquet_pages, "MAX_VALUE_BYTES", 2 << 20)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a" * (3 << 20), "b"], "n": [1, 2]}), path, row_group_size=1, **options)
    decoded = []
    monkeypatch.setattr(parquet, "batch_rows", lambda batch, *_: decoded.append(batch) or iter([(0, {})] * len(batch)))
    assert rows_of(path) == (1, [(Reason.EXPANSION_LIMIT, "text: a value of more than 2,097,152 bytes")])
    assert [batch["text"].to_pylist() for batch in decoded] == [["b"]]


def test_rows_that_share_one_large_value_are_decoded_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_pages, "MAX_BATCH_BYTES", 8 << 20)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["a" * (2 << 20)] * 20}), path)
    sizes, as_they_were = [], parquet.batch_rows
    monkeypatch.setattr(
        parquet, "batch_rows", lambda batch, *rest: sizes.append(len(batch)) or as_they_were(batch, *rest)
    )
    assert rows_of(path) == (20, [])
    assert max(sizes) <= 4


def test_folders_that_link_in_circles_give_each_file_once(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/.hidden").mkdir()
    for name in ("a/x.gz", "a/b/y.gz", "a/.hidden/z.gz"):
        (tmp_path / name).write_bytes(b"1")
    for link, to in (("a/self", "."), ("a/b/up", "../.."), ("a/b/again", "../b"), ("c", "a/b")):
        os.symlink(to, tmp_path / link)
    for pattern, wanted in {
        "**/*.gz": ["a/b/y.gz", "a/x.gz"],
        "a/**/*.gz": ["a/b/y.gz", "a/x.gz"],
        "**/b/**/y.gz": ["a/b/y.gz"],
        f"{tmp_path}/**": [f"{tmp_path}/a/b/y.gz", f"{tmp_path}/a/x.gz"],
        "c/**/*.gz": ["c/up/a/x.gz", "c/y.gz"],
    }.items():
        assert [each.url for each in listing.expand([pattern], {}, tmp_path)] == wanted, pattern


def test_a_redirect_to_another_scheme_is_refused_at_once(tmp_path):
    class Elsewhere(Web):
        def answer(self, handler, path):
            handler.finish_with(302, {"Location": "file:///etc/passwd"})

    with serve(web := Elsewhere({})) as url:
        for ask in (lambda: download.ask(f"{url}/a"), lambda: download.download(f"{url}/a", tmp_path / "a")):
            web.requests.clear()
            with pytest.raises(InputError, match="another scheme"):
                ask()
            assert len(web.requests) == 1


@pytest.mark.parametrize("told", ["nonsense", "-5", "1e3", "²", ""])
def test_a_length_that_is_no_number_is_none(tmp_path, told):
    class Lying(Web):
        def answer(self, handler, path):
            handler.close_connection = True
            handler._send(200, {"Content-Length": told} if handler.command == "HEAD" else {}, b"body")

    with serve(Lying({})) as url:
        assert download.look_up(f"{url}/a")[0] == 0
        download.download(f"{url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"body"


def test_a_body_that_never_ends_is_given_up_where_the_size_is_known(tmp_path):
    class Endless(Web):
        def answer(self, handler, path):
            handler.close_connection = True
            handler._send(200, {}, b"")
            try:
                for _ in range(1000):
                    handler.wfile.write(bytes(1 << 20))
                    self.files["sent"] += 1
            except OSError:
                pass

    with serve(web := Endless({"sent": 0})) as url:
        with pytest.raises(InputError, match="wanted 10"):
            download.download(f"{url}/a", tmp_path / "a", 10)
        assert web.files["sent"] < 200


def test_a_page_of_such_an_element_has_a_note_and_keeps_its_text(tmp_path):
    from redpajama.pipelines import files

    page = "<p>before</p><div " + " ".join(f"a{number}=b" for number in range(20_000)) + "><p>inside</p></div>"
    (tmp_path / "x.html").write_text(page)
    tally = Tally()
    listed = [raw_file(tmp_path / "x.html", url="x.html")]
    [document] = files.read(listed, files.Options(roots=[]), "pages", tally)
    assert document.text.split() == ["before", "inside"]
    assert [(row.verdict, row.reason) for row in tally.rows] == [("noted", Reason.EXPANSION_LIMIT)]
