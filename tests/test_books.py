import gzip
import zipfile

import pytest
from balanced import damaged, read_balanced
from conftest import SHARED, needs_shared, raw_file, write_raw

from redpajama.pipelines import books
from redpajama.records import Reason

HEAD = """The Project Gutenberg EBook of Some Book, by A. Author

Title: Some Book
       or, Another Title

Author: A. Author

Release Date: May 8, 2007  [EBook #1234]

Language: English

Character set encoding: {encoding}

"""
BOOK = HEAD + "*** START OF THIS PROJECT GUTENBERG EBOOK SOME BOOK ***\n\n\nCHAPTER I\n\nCafé.\n\n{end}"
END = "*** END OF THIS PROJECT GUTENBERG EBOOK SOME BOOK ***\n\nThe licence.\n"


def book(encoding: str = "UTF-8", end: str = END) -> str:
    return BOOK.format(encoding=encoding, end=end)


def read_bytes(tmp_path, data: bytes, name: str = "1234-0.txt", **options):
    return read_balanced(books.PIPELINE, [write_raw(tmp_path, name, data)], **options)


# ---- Gutenberg's own files

GUTENBERG = {  # file: (title, author, first words, last words)
    "gitenberg/1342/1342-0.txt": ("Pride and Prejudice", "Jane Austen", "PRIDE AND PREJUDICE\n", "of uniting them."),
    "gitenberg/1342/old/pandp10.txt": ("Pride and Prejudice", "Jane Austen", "Pride and Prejudice", "of uniting them."),
    "gitenberg/1342/old/pandp12.txt": ("Pride and Prejudice", "Jane Austen", "Pride and Prejudice", "of uniting them."),
    "gitenberg/1661/old/advsh10.txt": (
        "The Adventures of Sherlock Holmes",
        "Arthur Conan Doyle",
        "THE ADVENTURES OF SHERLOCK HOLMES",
        "met with considerable success.",
    ),
    "gitenberg/2701/old/moby10b.txt": (
        "Moby Dick; or The Whale",
        "Herman Melville",
        "Notes on this etext",
        "only found another\norphan.",
    ),
    "gitenberg/3261/old/nwsnw10.txt": (
        "News from Nowhere",
        "William Morris",
        "NEWS FROM NOWHERE\n",
        "he must have meant.",
    ),
    "gitenberg/14881/14881-8.txt": (
        "The Log School-House on the Columbia",
        "Hezekiah Butterworth",
        "THE LOG SCHOOL-HOUSE",
        "the stupendous\nevent.",
    ),
    "wss22/pg11.txt": ("Alice’s Adventures in Wonderland", "Lewis Carroll", "[Illustration]", "THE END"),
    "wss22/pg46.txt": (
        "A Christmas Carol A Ghost Story of Christmas",
        "Charles Dickens",
        "A CHRISTMAS CAROL",
        "God bless Us, Every One!",
    ),
    "wss22/98-0.txt": (
        "A Tale of Two Cities A Story of the French Revolution",
        "Charles Dickens",
        "A TALE OF TWO CITIES",
        "that I go to than I have ever known.”",
    ),
}


@needs_shared
@pytest.mark.parametrize("path", GUTENBERG)
def test_a_real_book_is_its_text_without_head_licence_and_foot(path):
    (document,), _ = read_balanced(books.PIPELINE, [raw_file(SHARED / "books" / path)])
    title, author, start, end = GUTENBERG[path]
    assert (document.meta["title"], document.meta["author"]) == (title, author)
    assert document.text.startswith(start)
    assert document.text.endswith(end)
    for boilerplate in ("START OF TH", "END OF TH", "End of Project", "SMALL PRINT", "Gutenberg License"):
        assert boilerplate not in document.text


@needs_shared
def test_the_whole_sample_of_gutenberg_is_read():
    folder = SHARED / "books"
    paths = sorted(path for name in ("gitenberg", "wss22") for path in (folder / name).rglob("*") if path.is_file())
    documents, tally = read_balanced(books.PIPELINE, [raw_file(path) for path in paths])
    assert (tally.read, len(documents)) == (39, 28)
    assert tally.dropped == {Reason.WRONG_SUFFIX: 10, Reason.NO_BOOK_TEXT: 1}  # .htm, .yaml, .tex; a listing of files
    assert len({document.doc_id for document in documents}) == 28
    assert sorted({int(document.meta["gutenberg_id"]) for document in documents}) == [
        *(11, 46, 84, 98, 174, 1342, 1661, 2701, 3261, 14881, 15122, 16215),
    ]
    assert all(document.meta["url"].endswith(f"/{document.meta['gutenberg_id']}") for document in documents)
    assert all(document.meta["release_date"] for document in documents)


@needs_shared
def test_the_declared_encoding_is_followed():
    (latin,), _ = read_balanced(books.PIPELINE, [raw_file(SHARED / "books/gitenberg/14881/14881-8.txt")])
    (utf8,), _ = read_balanced(books.PIPELINE, [raw_file(SHARED / "books/gitenberg/1342/1342-0.txt")])
    assert (latin.meta["encoding"], utf8.meta["encoding"]) == ("cp1252", "utf-8")
    assert "\ufffd" not in latin.text + utf8.text


def test_the_meta_of_a_gutenberg_book(tmp_path):
    (document,), _ = read_bytes(tmp_path, book().encode())
    assert document.meta == {
        "short_book_title": "Some Book or, Another Title by A. Author",
        "publication_date": None,
        "url": "http://www.gutenberg.org/ebooks/1234",
        "title": "Some Book or, Another Title",
        "author": "A. Author",
        "language": "en",
        "release_date": "May 8, 2007",
        "gutenberg_id": "1234",
        "encoding": "utf-8",
        "source": "books",
    }
    assert document.text == "CHAPTER I\n\nCafé."


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (book("UTF-8").encode(), "utf-8"),
        ("\ufeff".encode() + book("ASCII").encode(), "utf-8"),
        (book("UTF-8").encode("utf-16"), "utf-16-le"),
        (book("ISO-8859-1").encode("latin-1"), "cp1252"),
        (book("ISO Latin-1").encode("latin-1"), "cp1252"),
        (book("ISO-646-US (US-ASCII)").encode("latin-1"), "cp1252"),
        (book("UTF-8").encode("cp1252"), "cp1252"),
        (book("unknown-8bit").encode(), "utf-8"),
        (book("ISO-8859-1").replace("Café", "Caf\x81é").encode("latin-1"), "latin-1"),
        (book("undefined").replace("\n", "\r\n").encode(), "utf-8"),
    ],
)
def test_encodings_are_found(tmp_path, encoded, expected):
    (document,), _ = read_bytes(tmp_path, encoded)
    assert document.meta["encoding"] == expected
    assert document.text.replace("\x81", "") == "CHAPTER I\n\nCafé."


@pytest.mark.parametrize(
    "markers",
    [
        "***START OF THE PROJECT GUTENBERG EBOOK A LONG\nTITLE***\n{}\n***END OF THE PROJECT GUTENBERG EBOOK A",
        "*** START OF THE PROJECT GUTENBERG EBOOK M*A*S*H ***\n{}\n*** END OF THE PROJECT GUTENBERG EBOOK M",
        "*** START OF THIS PROJECT GUTENBERG ETEXT ***\n{}\n\nEnd of Project Gutenberg's Book, by A\nAuthor\n",
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n{}\n\nEnd of The Project Gutenberg",
        "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.10/04/01*END*\n{}",
        "*** START OF THE PROJECT GUTENBERG EBOOK, A ***\n{}\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN",
        "*** START OF THE PROJECT GUTENBERG EBOOK A ***\n{}",
    ],
)
def test_markers_of_all_ages_are_known(markers):
    text = "word " * 500 + "\nText."
    found = books.split_boilerplate("Head.\n" + markers.format(text))
    assert found.text == text
    assert found.head.startswith("Head.")


def test_a_text_without_markers_is_no_gutenberg_book(tmp_path):
    documents, tally = read_bytes(tmp_path, b"total 287381\n-rw-rw-r--  1 1005  100  247438 07tom10.txt\n")
    assert (documents, tally.dropped) == ([], {Reason.NO_BOOK_TEXT: 1})


@pytest.mark.parametrize(
    ("url", "number", "key"),
    [
        ("g/1342/1342-0.txt", "1342", "pg1342-0-"),
        ("g/cache/epub/1342/pg1342.txt", "1342", "pg1342-"),
        ("g/1661/old/advsh10.txt", "1661", "pg1661-old-advsh10-"),
        ("g/etext98/advsh10.txt", "1661", "pg1661-advsh10-"),
        ("https://www.gutenberg.org/ebooks/11.txt.utf-8", "11", "pg11-"),
    ],
)
def test_editions_have_keys_of_their_own(url, number, key):
    assert books.gutenberg_key(url, number).startswith(key)
    assert books.gutenberg_key(url, number) != books.gutenberg_key("mirror/" + url, number)
    assert len(books.gutenberg_key(url, number)) == len(key) + 8


# ---- PG-19


@pytest.fixture(scope="module")
def pg19(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg19")
    zipfile.ZipFile(SHARED / "books/pg19-dummy/dummy_data.zip").extractall(folder)
    return folder / "dummy_data"


@needs_shared
def test_pg19_takes_its_meta_from_the_catalog(pg19):
    files = [raw_file(pg19 / f"{number}.txt", f"pg19/train/{number}.txt") for number in (10006, 12204, 28213)]
    documents, _ = read_balanced(books.PIPELINE, files, metadata=str(pg19 / "metadata.csv"))
    assert [document.doc_id for document in documents] == ["src/pg19-10006", "src/pg19-12204", "src/pg19-28213"]
    assert documents[0].meta == {
        "short_book_title": "La Fiammetta by Giovanni Boccaccio",
        "publication_date": 1907,
        "url": "http://www.gutenberg.org/ebooks/10006",
        "title": "La Fiammetta",
        "author": "Giovanni Boccaccio",
        "language": "en",
        "release_date": "",
        "gutenberg_id": "10006",
        "encoding": "utf-8",
        "source": "books",
    }
    assert documents[0].text.startswith("LA FIAMMETTA\n")
    assert documents[0].text.endswith("never-ending sorrow.")  # and then: End of the Project Gutenberg EBook of …, ***
    assert "\r" not in documents[0].text


@pytest.mark.parametrize(
    ("credit", "stays"),
    [
        ("Produced by A. N. Other and\nDistributed Proofreaders\n\n\n", False),
        ("This etext was produced from the 1908 edition by D. P., email d@example.org\n\n", False),
        ("E-text prepared by X\n\n\nNote: Project Gutenberg also has an HTML version\n      of this file.\n\n", False),
        ("(Additional editing by X)\n\n", False),
        ("Transcriber's Note: accents are kept.\n\n", True),
        ("Produced at the Globe in 1601, the play\n\n", True),
    ],
)
def test_the_credits_of_those_who_made_a_file_are_no_text(tmp_path, credit, stays):
    (document,), _ = read_bytes(tmp_path, book().replace("CHAPTER I", credit + "CHAPTER I").encode())
    assert document.text == (credit if stays else "") + "CHAPTER I\n\nCafé."


@needs_shared
def test_pg19_is_told_by_its_catalog_or_its_folders(pg19):
    data = raw_file(pg19 / "10006.txt", "anywhere/10006.txt")
    (listed,), _ = read_balanced(books.PIPELINE, [data], metadata=str(SHARED / "books/pg19/metadata.csv"))
    (in_split,), _ = read_balanced(books.PIPELINE, [raw_file(pg19 / "10006.txt", "pg19/test/10006.txt")])
    assert listed.doc_id == in_split.doc_id == "src/pg19-10006"
    assert (in_split.meta["title"], in_split.meta["publication_date"]) == ("", None)
    documents, tally = read_balanced(books.PIPELINE, [data])
    assert (documents, tally.dropped) == ([], {Reason.NO_BOOK_TEXT: 1})


@needs_shared
def test_the_whole_catalog_is_read():
    catalog = books.read_catalog(str(SHARED / "books/pg19/metadata.csv"))
    assert len(catalog) == 28_752
    assert books.pg19_meta("1001", catalog)["author"] == "Dante Alighieri"


# ---- refusals and damage


@pytest.mark.parametrize(
    "url",
    [
        "https://the-eye.eu/public/AI/pile_preliminary_components/books3.tar.gz",
        "hf://datasets/the_pile_books3/*.txt",
        "data/Books3/a.txt",
        "bibliotik/a.txt",
    ],
)
def test_books3_is_refused_by_name(url):
    refusal = books.check_inputs(["pg19/train/1.txt", url])
    assert refusal.startswith(f"'{url}': Books3 is withdrawn")
    assert "\n" not in refusal


def test_other_names_are_not_refused():
    assert books.check_inputs(["pg19/train/1.txt", "mybooks30/a.txt", "cookbooks3x/a.txt"]) is None


def test_reading_books3_raises(tmp_path):
    with pytest.raises(ValueError, match="Books3 is withdrawn"):
        read_bytes(tmp_path, b"text", "books3/a.txt")


@pytest.mark.parametrize(
    ("name", "data", "verdict"),
    [
        ("a.htm", b"<html>", {Reason.WRONG_SUFFIX: 1}),
        ("1342.zip", b"PK", {Reason.WRONG_SUFFIX: 1}),
        ("1.txt", b"", {Reason.NO_BOOK_TEXT: 1}),
        ("1.txt", b"PK\3\4" + bytes(500), {Reason.NO_BOOK_TEXT: 1}),
        ("1.txt", book().encode() + b"\0", {}),
        ("1.txt", book().replace("Café", "Caf\0").encode(), {Reason.DAMAGED: 1}),
        ("1.txt", book().replace("CHAPTER I\n\nCafé.", "").encode(), {Reason.NO_BOOK_TEXT: 1}),
        ("1.txt", "\ufeff".encode("utf-16-le") + b"x", {Reason.UNDECODABLE: 1}),
        ("1.txt.gz", gzip.compress(book().encode())[:-20], {Reason.DAMAGED: 1}),
        ("1.txt.gz", b"", {Reason.DAMAGED: 1}),
        ("1.txt.gz", gzip.compress(bytes(300 << 20)), {Reason.DAMAGED: 1}),
    ],
)
def test_what_is_no_book_is_on_record(tmp_path, name, data, verdict):
    documents, tally = read_bytes(tmp_path, data, name)
    assert {**tally.dropped, **tally.quarantined} == verdict
    assert len(documents) == (not verdict)


def test_a_compressed_book_is_read(tmp_path):
    (document,), _ = read_bytes(tmp_path, gzip.compress(book().encode()), "1234-0.txt.gz")
    assert document.text == "CHAPTER I\n\nCafé."


@needs_shared
def test_random_damage_of_a_real_book_never_stops_the_reader(tmp_path):
    data = (SHARED / "books/wss22/pg11.txt").read_bytes()
    for broken in damaged(data, 15):
        read_bytes(tmp_path, broken, "pg11.txt")
    for broken in damaged(gzip.compress(data), 15):
        read_bytes(tmp_path, broken, "pg11.txt.gz")
