"""Makes the raw files of the demo from the texts beside them: every source in its genuine format, damage included.

    python manifests/make_demo.py [FOLDER]

is run by hand when a text in `demo/text` has changed; FOLDER is where `demo/` goes, by default beside this script. The
same texts give the same bytes: times are fixed, ids are hashes of what they name. (gzip and 7z leave their bytes to
zlib and liblzma; those of a usual CPython on Linux made the files in the repository.)

The texts were written for this demo, but for `text/code`: that is this project's own code as it was on one day. It is
a text like the others and need not follow the code.
"""

import bz2
import csv
import gzip
import io
import json
import re
import sys
import tarfile
import unicodedata
import uuid
from base64 import b32encode
from hashlib import sha1
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import py7zr
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from py7zr.helpers import ArchiveTimestamp

HERE = Path(__file__).resolve().parent
TEXT = HERE / "demo" / "text"
DAY = 1716202800  # 2024-05-20 11:00 UTC, the time of whatever has a time of its own
COMMIT = sha1(b"the code of the demo", usedforsecurity=False).hexdigest()  # stands for a commit's id

Head = dict[str, str]


def main(folder: Path) -> None:
    """Write all raw files below `folder`/demo."""
    for source in (common_crawl, c4, github, books, arxiv, wikipedia, stackexchange, pile, the_stack):
        for name, data in source().items():
            path = folder / "demo" / source.__name__ / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


# ---- texts


def read_text(name: str) -> tuple[Head, str]:
    """A text with a head of `key: value` lines -> (head, body)."""
    return split_head((TEXT / name).read_text(encoding="utf-8"))


def read_texts(folder: str) -> list[tuple[Head, str]]:
    """All texts of a folder, by name."""
    return [read_text(f"{folder}/{path.name}") for path in sorted((TEXT / folder).iterdir())]


def split_head(text: str) -> tuple[Head, str]:
    """`key: value` lines, a blank line, the body."""
    head, _, body = text.partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()), body.rstrip("\n")


def read_code(name: str) -> str:
    """A file of `code` or `programs`: kept as `.txt`, so that no tool takes it for code of this project."""
    return (TEXT / f"{name}.txt").read_text(encoding="utf-8")


def edited(text: str, **changes: str) -> str:
    """A text with words replaced; each stands in it."""
    for word, other in changes.items():
        if word not in text:
            raise ValueError(f"no '{word}' in a text that begins {text[:40]!r}")
        text = text.replace(word, other)
    return text


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """One object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def blob_id(data: bytes) -> str:
    """What git calls a file of this content."""
    return sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


# ---- CommonCrawl


def common_crawl() -> dict[str, bytes]:
    """A WET and a WARC file, a gzip member a record.

    Planted: a damaged member (paste.txt), a record whose Content-Length is wrong (guestbook.html), the C4 article
    second-copy.txt as a page, the C4 article quarto.txt as another site prints it, an answer 404, an image, a revisit.
    """
    return {
        "CC-MAIN-20240520110000-20240520140000-00000.warc.wet.gz": wet_file(),
        "CC-MAIN-20240520110000-20240520140000-00000.warc.gz": warc_file(),
    }


def wet_file() -> bytes:
    """Text that CommonCrawl extracted: the first line of a page is its title."""
    names = ["mill", "library-van", "night-archive", "paste", "opening-hours", "filigrane-page"]
    pages = [read_text(f"common_crawl/{name}.txt") for name in names]
    article, text = read_text("c4/second-copy.txt")
    quarto, reprint = read_text("c4/quarto.txt")
    pages.insert(2, ({**article, "date": "2024-05-20T11:10:02Z", "language": "eng"}, f"The second copy\n{text}"))
    reprint = f"Reprinted by kind permission.\n{edited(reprint, pencil='biro', reader='buyer')}\nMore from our shelves"
    address = "https://www.foldedsheet.example/reprints/quarto"
    pages.append(({**quarto, "url": address, "date": "2024-05-20T11:12:40Z", "language": "eng"}, reprint))
    members = [gzip.compress(warcinfo("CC-MAIN-2024-22"), mtime=0)]
    for head, body in pages:
        fields = {"WARC-Identified-Content-Language": head["language"], "Content-Type": "text/plain"}
        members.append(gzip.compress(warc_record("conversion", head, body.encode() + b"\n", fields), mtime=0))
    damaged = 1 + names.index("paste") + 1  # after warcinfo, and after the article
    members[damaged] = scratch(members[damaged])
    return b"".join(members)


def warc_file() -> bytes:
    """The HTTP answers."""
    records = [warcinfo("CC-MAIN-2024-22")]
    for name in ("mojibake", "specimen", "hash-shelf", "link-rot"):
        head, body = read_text(f"common_crawl/{name}.html")
        records += exchange(head, http_answer("200 OK", f"text/html; charset={head['charset']}", body, head["charset"]))
    head = {"url": "https://www.lowermill.example/shop/calendar-2019", "date": "2024-05-20T11:16:10Z"}
    records += exchange(head, http_answer("404 Not Found", "text/html", "<title>Not found</title><p>No such page."))
    head = {"url": "https://www.lowermill.example/wheel.svg", "date": "2024-05-20T11:16:12Z"}
    records += exchange(head, http_answer("200 OK", "image/svg+xml", '<svg><circle cx="9" cy="9" r="8"/></svg>'))
    head = {"url": "https://www.lowermill.example/visit/?lang=en", "date": "2024-05-20T11:16:20Z"}
    seen = {"WARC-Refers-To-Target-URI": "https://www.lowermill.example/visit/", "Content-Type": "application/http"}
    records.append(warc_record("revisit", head, b"HTTP/1.1 304 Not Modified\r\n\r\n", seen))
    head, body = read_text("common_crawl/guestbook.html")
    answer = http_answer("200 OK", "text/html; charset=utf-8", body)
    records.append(exchange(head, answer)[1].replace(b"Content-Length: %d\r" % len(answer), b"Content-Length: 99\r", 1))
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def warcinfo(crawl: str) -> bytes:
    """The record that opens a file."""
    body = f"isPartOf: {crawl}\r\npublisher: nobody\r\ndescription: a crawl that never was, for the demo\r\n"
    return warc_record("warcinfo", {"date": "2024-05-20T11:00:00Z"}, body.encode(), {})


def exchange(head: Head, answer: bytes) -> list[bytes]:
    """Request, response and metadata of one page."""
    host, _, path = head["url"].removeprefix("https://").partition("/")
    request = f"GET /{path} HTTP/1.1\r\nUser-Agent: CCBot/2.0 (https://commoncrawl.org/faq/)\r\nHost: {host}\r\n\r\n"
    http, fields = "application/http; msgtype=", "application/warc-fields"
    return [
        warc_record("request", head, request.encode(), {"Content-Type": f"{http}request"}),
        warc_record("response", head, answer, {"Content-Type": f"{http}response", "WARC-IP-Address": "192.0.2.7"}),
        warc_record("metadata", head, b"fetchTimeMs: 41\r\n", {"Content-Type": fields}),
    ]


def http_answer(status: str, kind: str, body: str, charset: str = "utf-8") -> bytes:
    """Status, header and body, as a server sends them."""
    data = body.encode(charset)
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def warc_record(kind: str, head: Head, block: bytes, fields: Head) -> bytes:
    """One record (ISO 28500)."""
    url = head.get("url", "")
    lines = {
        "WARC-Type": kind,
        **({"WARC-Target-URI": url} if url else {}),
        "WARC-Date": head["date"],
        "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {url}')}>",
        "WARC-Block-Digest": f"sha1:{b32encode(sha1(block, usedforsecurity=False).digest()).decode()}",
        **({"Content-Type": "application/warc-fields"} if kind == "warcinfo" else {}),
        **fields,
        "Content-Length": str(len(block)),
    }
    header = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"WARC/1.0\r\n{header}\r\n".encode() + block + b"\r\n\r\n"


def scratch(member: bytes) -> bytes:
    """The same with sixteen bytes in the middle changed, as a disk may do."""
    middle = len(member) // 2
    return member[:middle] + bytes(byte ^ 0x5A for byte in member[middle : middle + 16]) + member[middle + 16 :]


# ---- C4


def c4() -> dict[str, bytes]:
    """Rows as allenai/c4 has them.

    Planted: two-spaces.txt again under another address with other white space, file-names.txt as its mobile page,
    without one sentence and with another date, a row without text, a line cut off.
    """
    rows = [c4_row(*text) for text in read_texts("c4")]
    head, body = read_text("c4/two-spaces.txt")
    print_view = re.sub(r"(?<=[.?!]) ", "  ", body).replace("\n", "\r\n\r\n")
    rows.append(c4_row({**head, "url": "https://wellsetpage.example/print.php?article=118"}, print_view))
    rows.append(c4_row({**head, "url": "https://wellsetpage.example/ask/"}, " "))
    head, body = read_text("c4/file-names.txt")
    mobile = edited(body, **{" Nobody has ever regretted the extra zero.": "", "2018-11-05": "2019-02-11"})
    rows.append(c4_row({**head, "url": "https://m.smallarchive.example/guides/naming-files"}, mobile))
    cut = jsonl([c4_row(*read_text("c4/file-names.txt"))])[:700] + b"\n"
    lines = jsonl(rows).splitlines(keepends=True)
    return {"c4-train.00000-of-00001.json.gz": gzip.compress(b"".join([*lines[:4], cut, *lines[4:]]), mtime=0)}


def c4_row(head: Head, body: str) -> dict[str, str]:
    """One object of the release."""
    return {"text": body, "timestamp": head["timestamp"], "url": head["url"]}


# ---- GitHub


def github() -> dict[str, bytes]:
    """A repository as codeload serves it, and rows as BigQuery exports them.

    Planted: a member that climbs out of the tar, a file in Latin-1; rows under the GPL, one with a line of more than a
    thousand characters, and a fork's hashing.py that differs from the repository's in its licence header alone.
    """
    return {f"example__redpajama-{COMMIT}.tar.gz": repository(), "github_000000000000.json.gz": bigquery()}


def repository() -> bytes:
    """This project's code, licence and all, with a pax header that names the commit."""
    top = f"redpajama-{COMMIT}"
    code = sorted((TEXT / "code").rglob("*.txt"))
    files = [(path.relative_to(TEXT / "code").as_posix().removesuffix(".txt"), path.read_bytes()) for path in code]
    files += [
        ("pyproject.toml", b'[project]\nname = "redpajama"\nversion = "0.1.0"\n'),
        ("tests/names.py", 'NAMES = ["Süßkind", "Döbereiner"]  # saved by an old editor\n'.encode("latin-1")),
        ("../../home/reader/.profile", b"echo this file would like to be somewhere else\n"),
    ]
    return gzip.compress(tar([(f"{top}/{name}", data) for name, data in files], {"comment": COMMIT}), mtime=0)


def tar(files: list[tuple[str, bytes]], header: Head | None = None) -> bytes:
    """A tar of regular files, with a global pax header if one is given."""
    buffer = io.BytesIO()
    kind = tarfile.PAX_FORMAT if header else tarfile.USTAR_FORMAT
    with tarfile.open(fileobj=buffer, mode="w", format=kind, pax_headers=header) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), DAY, 0o664
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def bigquery() -> bytes:
    """Rows of github_repos: integers are strings there."""
    fork = "# Copyright 2024 the fork's author\n# Licensed under the Apache License, Version 2.0.\n\n"
    hashing = fork + read_code("code/redpajama/hashing.py")
    rows = [
        ("example/linetools", "src/count.c", "mit", "C", read_code("programs/count.c")),
        ("example/linetools", "src/fold.rs", "mit", "Rust", read_code("programs/fold.rs")),
        ("example/linetools", "src/Kwic.hs", "mit", "Haskell", read_code("programs/Kwic.hs")),
        ("example/linetools", "README.md", "mit", "Markdown", read_code("programs/README.md")),
        ("example/linetools", "wordfreq.lua", "mit", "Lua", read_code("programs/wordfreq.lua")),
        ("example/small-sums", "checksum.js", "bsd-2-clause", "JavaScript", read_code("programs/checksum.js")),
        ("example/small-sums", "stop.min.js", "bsd-2-clause", "JavaScript", read_code("programs/stopwords.min.js")),
        ("example/ledger", "gate/gate.go", "apache-2.0", "Go", read_code("programs/gate.go")),
        ("example/ledger", "sql/losses.sql", "apache-2.0", "SQL", read_code("programs/losses.sql")),
        ("example/ledger", "bin/rotate.sh", "apache-2.0", "Shell", read_code("programs/rotate.sh")),
        ("example/copyleft", "balance.py", "gpl-2.0", "Python", read_code("programs/balance.py")),
        ("reader/fork-of-redpajama", "hashing.py", "apache-2.0", "Python", hashing),
    ]
    return gzip.compress(jsonl([bigquery_row(*row) for row in rows]), mtime=0)


def bigquery_row(repo: str, path: str, license: str, language: str, content: str) -> dict[str, Any]:
    """One row of the joined tables."""
    size = str(len(content.encode()))
    return {
        "repo_name": repo,
        "ref": "refs/heads/master",
        "path": path,
        "mode": "33188",
        "id": blob_id(content.encode()),
        "size": size,
        "binary": False,
        "copies": "1",
        "content": content,
        "license": license,
        "language": [{"name": language, "bytes": size}],
    }


# ---- books


def books() -> dict[str, bytes]:
    """A file laid out like Project Gutenberg's, with their line ends and byte order mark, and PG-19's own layout."""
    rows = io.StringIO()
    title = "Letters to a Young Compositor by J. T."
    csv.writer(rows, lineterminator="\n").writerow(["990002", title, "1879", "http://www.gutenberg.org/ebooks/990002"])
    return {
        "990001-0.txt": b"\xef\xbb\xbf" + gutenberg().replace("\n", "\r\n").encode(),
        "pg19/train/990002.txt": (TEXT / "books" / "letters.txt").read_bytes(),
        "pg19/metadata.csv": rows.getvalue().encode(),
    }


def gutenberg() -> str:
    """Head, text, foot."""
    return f"""The Project Gutenberg eBook of The Keeper of the Copies

This file has the layout of a Project Gutenberg text, so that the demo can
show how head and foot are cut off. It is not one of theirs.

Title: The Keeper of the Copies

Author: Anonymous

Release date: May 20, 2024 [eBook #990001]

Language: English

Character set encoding: UTF-8

*** START OF THE PROJECT GUTENBERG EBOOK THE KEEPER OF THE COPIES ***



{(TEXT / "books" / "keeper.txt").read_text(encoding="utf-8")}


*** END OF THE PROJECT GUTENBERG EBOOK THE KEEPER OF THE COPIES ***

Here stands the licence, in the files that have one.
"""


# ---- arXiv


def arxiv() -> dict[str, bytes]:
    """One e-print by itself and a tar of the bulk bucket: two papers, one that has only a PDF, one withdrawn.

    Planted: a draft that the main file never inputs, a paper in Latin-1. No month has 99,000 papers, so the ids are
    nobody's.
    """
    budgets = ["main.tex", "macros.tex", "sections/problem.tex", "sections/method.tex", "old-draft.tex", "refs.bib"]
    bulk = [
        ("2403/2403.99902.gz", eprint("whitespace", ["ms.tex", "appendix-numbers.tex"])),
        ("2403/2403.99903.gz", gzip.compress(tex("shuffle/paper.tex").decode().encode("latin-1"), mtime=DAY)),
        ("2403/2403.99904.pdf", pdf("This paper exists as a picture of itself.")),
        ("2403/2403.99905.gz", gzip.compress(tex("withdrawn.tex"), mtime=DAY)),
    ]
    return {"2403.99901.gz": eprint("budgets", budgets), "arXiv_src_2403_099.tar": tar(bulk)}


def tex(name: str) -> bytes:
    """A file of the papers."""
    return (TEXT / "arxiv" / name).read_bytes()


def eprint(paper: str, names: list[str]) -> bytes:
    """A paper of several files as arXiv hands it out."""
    return gzip.compress(tar([(name, tex(f"{paper}/{name}")) for name in names]), mtime=DAY)


def pdf(line: str) -> bytes:
    """A page with one line on it."""
    content = f"BT /F1 12 Tf 72 720 Td ({line}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R\n"
        "   /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Times-Roman >>",
    ]
    data, places = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return f"{data}xref\n0 6\n0000000000 65535 f \n{table}{trailer}".encode()


# ---- Wikipedia


NAMESPACES = {
    "en": {1: "Talk", 6: "File", 10: "Template", 14: "Category"},
    "de": {1: "Diskussion", 6: "Datei", 10: "Vorlage", 14: "Kategorie"},
    "fr": {1: "Discussion", 6: "Fichier", 10: "Modèle", 14: "Catégorie"},
    "es": {1: "Discusión", 6: "Archivo", 10: "Plantilla", 14: "Categoría"},
}


def wikipedia() -> dict[str, bytes]:
    """Multistream dumps of four languages: the head, three pages at a time, and the end are bz2 streams of their own.

    Planted, in English: a redirect, a disambiguation page, a talk page, and a page with an entity that XML lacks.
    """
    return {f"{language}wiki-20240520-pages-articles-multistream.xml.bz2": dump(language) for language in NAMESPACES}


def dump(language: str) -> bytes:
    """One language."""
    texts = read_texts(f"wikipedia/{language}")
    pages = [page(*text) for text in sorted(texts, key=lambda text: int(text[0]["id"]))]
    groups = ["".join(pages[at : at + 3]) for at in range(0, len(pages), 3)]
    return b"".join(bz2.compress(part.encode()) for part in [siteinfo(language), *groups, "</mediawiki>\n"])


def siteinfo(language: str) -> str:
    """What stands before the first page."""
    names = "".join(f'      <namespace key="{key}">{name}</namespace>\n' for key, name in NAMESPACES[language].items())
    return f"""<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>{language}wiki</dbname>
    <base>https://{language}.wikipedia.org/wiki/Main_Page</base>
    <generator>MediaWiki 1.43.0-wmf.5</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
{names}    </namespaces>
  </siteinfo>
"""


def page(head: Head, wikitext: str) -> str:
    """One `<page>`; where the head says `broken`, its text is not escaped."""
    redirect = f"    <redirect title={quoteattr(head['redirect'])} />\n" if "redirect" in head else ""
    text = wikitext if "broken" in head else escape(wikitext)
    return f"""  <page>
    <title>{escape(head["title"])}</title>
    <ns>{head.get("ns", 0)}</ns>
    <id>{head["id"]}</id>
{redirect}    <revision>
      <id>{head["revision"]}</id>
      <timestamp>{head["timestamp"]}</timestamp>
      <contributor><username>Demo</username><id>1</id></contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{len(wikitext.encode())}" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


# ---- StackExchange


def stackexchange() -> dict[str, bytes]:
    """A site's archive.

    Planted: a text that speaks of `<|endoftext|>`, an answer without its question, a tag wiki, an answer with a low
    score.
    """
    posts = [split_head(post) for path in sorted((TEXT / "stackexchange").iterdir()) for post in posts_of(path)]
    tags = '<?xml version="1.0" encoding="utf-8"?>\n<tags>\n  <row Id="1" TagName="tokens" Count="1" />\n</tags>\n'
    rows = "".join(post_row(*post) for post in sorted(posts, key=lambda post: int(post[0]["id"])))
    posts_xml = f'\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n{rows}</posts>'
    return {"textcraft.example.7z": seven_zip({"Posts.xml": posts_xml.encode(), "Tags.xml": tags.encode()})}


def posts_of(path: Path) -> list[str]:
    """The posts of one thread."""
    return path.read_text(encoding="utf-8").split("\n----\n")


def post_row(head: Head, body: str) -> str:
    """One `<row>`."""
    kind = {"question": "1", "answer": "2", "tag-wiki": "5"}[head["type"]]
    tags = head["tags"].split(", ") if "tags" in head else []
    question = {"Title": head.get("title"), "Tags": "".join(f"<{tag}>" for tag in tags)}
    attributes = {
        "Id": head["id"],
        "PostTypeId": kind,
        "ParentId": head.get("parent"),
        "CreationDate": head["date"],
        "Score": head["score"],
        "Body": body + "\n",
        "OwnerUserId": head["user"],
        **(question if kind == "1" else {}),
        "ContentLicense": "CC BY-SA 4.0",
    }
    written = (f"{name}={attribute(value)}" for name, value in attributes.items() if value is not None)
    return f"  <row {' '.join(written)} />\r\n"


def attribute(value: str) -> str:
    """A quoted XML attribute, with line ends as the dumps have them."""
    return '"' + escape(value, {'"': "&quot;", "\n": "&#xA;"}) + '"'


def seven_zip(files: dict[str, bytes]) -> bytes:
    """A 7z archive whose members have a fixed time."""
    buffer, time = io.BytesIO(), ArchiveTimestamp.from_datetime(DAY)
    with py7zr.SevenZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
        for info in archive.header.files_info.files:
            info.update(dict.fromkeys(("creationtime", "lastwritetime", "lastaccesstime"), time))
    return buffer.getvalue()


# ---- the Pile


def pile() -> dict[str, bytes]:
    """A file of the release.

    Planted: a row twice, a speech once composed (NFC) and once decomposed (NFD), rows of a slice that is not wanted and
    of one that was withdrawn.
    """
    rows = [pile_row(*text) for text in read_texts("pile")]
    rows.append(pile_row(*read_text("pile/hn-plain-text.txt")))
    head, speech = read_text("pile/europarl-bibliotheques.txt")
    rows.append(pile_row(head, unicodedata.normalize("NFD", speech)))
    return {"00.jsonl.zst": zstandard.ZstdCompressor(level=19).compress(jsonl(rows))}


def pile_row(head: Head, body: str) -> dict[str, Any]:
    """One object of the release."""
    return {"text": body, "meta": {"pile_set_name": head["slice"]}}


# ---- The Stack


def the_stack() -> dict[str, bytes]:
    """Parquet in the schema of bigcode/the-stack.

    Planted: hashing.py of the repository above, its licenses.py as a fork has it, a language that is not wanted.
    """
    fork = edited(read_code("code/redpajama/licenses.py"), is_license_name="looks_like_license", Exact="To the letter")
    rows = [
        stack_row(
            "example/redpajama",
            "redpajama/hashing.py",
            "Python",
            "Apache-2.0",
            read_code("code/redpajama/hashing.py"),
            31,
        ),
        stack_row("reader/fork", "redpajama/licenses.py", "Python", "Apache-2.0", fork, 0),
        stack_row("example/bookbench", "impose.py", "Python", "MIT", read_code("programs/impose.py"), 8),
        stack_row("example/bookbench", "docs/toc.jl", "Julia", "MIT", read_code("programs/toc.jl"), 8),
        stack_row("example/bookbench", "web/paginate.ts", "TypeScript", "MIT", read_code("programs/paginate.ts"), 8),
        stack_row("example/linetools", "wordfreq.lua", "Lua", "MIT", read_code("programs/wordfreq.lua"), 112),
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, stack_schema()), sink, compression="zstd")
    return {"data/train-00000-of-00001.parquet": sink.getvalue()}


def stack_schema() -> pa.Schema:
    """The columns of the release, in its order."""
    text, whole = pa.string(), pa.int64()
    fields = [("hexsha", text), ("size", whole), ("ext", text), ("lang", text)]
    for event in ("stars", "issues", "forks"):
        kind = f"max_{event}"
        fields += [(f"{kind}_repo_path", text), (f"{kind}_repo_name", text), (f"{kind}_repo_head_hexsha", text)]
        fields += [(f"{kind}_repo_licenses", pa.list_(text)), (f"{kind}_count", whole)]
        fields += [(f"{kind}_repo_{event}_event_{end}_datetime", text) for end in ("min", "max")]
    fields += [("content", text), ("avg_line_length", pa.float64()), ("max_line_length", whole)]
    return pa.schema([*fields, ("alphanum_fraction", pa.float64())])


def stack_row(repo: str, path: str, language: str, license: str, content: str, stars: int) -> dict[str, Any]:
    """One row of the release."""
    lengths = [len(line) for line in content.splitlines()]
    row: dict[str, Any] = {
        "hexsha": blob_id(content.encode()),
        "size": len(content.encode()),
        "ext": path.rpartition(".")[2],
        "lang": language,
        "content": content,
        "avg_line_length": sum(lengths) / len(lengths),
        "max_line_length": max(lengths),
        "alphanum_fraction": sum(map(str.isalnum, content)) / len(content),
    }
    for kind in ("max_stars", "max_issues", "max_forks"):
        row |= {f"{kind}_repo_path": path, f"{kind}_repo_name": repo, f"{kind}_repo_head_hexsha": COMMIT}
        row |= {f"{kind}_repo_licenses": [license], f"{kind}_count": stars if kind == "max_stars" else None}
    return row


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
