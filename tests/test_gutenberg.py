import re
import time

import pytest
from balanced import read_balanced
from conftest import write_raw

from redpajama.extract.gutenberg import split_boilerplate
from redpajama.extract.gutenberg_head import title_and_author
from redpajama.pipelines import books
from redpajama.records import Reason

FIRST = "The Project Gutenberg Etext of The Weir, by A. Author\n\n"
SMALL_PRINT = (
    "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n{}\n*END*THE SMALL PRINT! FOR PUBLIC{}*END*\n"
)
SMALL_PRINT = SMALL_PRINT.format(
    "You may copy this etext, says Project Gutenberg.\n" * 200, " DOMAIN ETEXTS*Ver.04.29.93"
)
TEXT = "CHAPTER I\n\nThe weir was low that summer.\n\nTHE END"


def read_text(tmp_path, text: str):
    return read_balanced(books.PIPELINE, [write_raw(tmp_path, "weir10.txt", text.encode())])


# ---- heads


@pytest.mark.parametrize(
    "head",
    [
        FIRST + SMALL_PRINT,
        FIRST + "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.10/04/01*END*\n",
        FIRST + "***START** SMALL PRINT! for COPYRIGHT PROTECTED ETEXTS ***\nTerms.\n"
        "*SMALL PRINT! Ver.12.12.92 FOR COPYRIGHT PROTECTED ETEXTS*END*\n",
        FIRST + 'Terms.\n["Small Print" V.12.08.93]\n',
        FIRST + "*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK THE WEIR ***\n",
        FIRST + "*** START OF PROJECT GUTENBERG ETEXT THE WEIR ***\n",
        FIRST
        + "** This is a COPYRIGHTED Project Gutenberg eBook, Details Below **\n\nTitle: The Weir\n\nLanguage: Dutch\n",
        FIRST
        + "Copyright laws are changing all over the world.\n\nThe Weir\n\nby A. Author\n\nMay, 1993  [Etext #12]\n",
        FIRST + 'The "legal small print" may now be found at the end of this file. It tells you about\n'
        "restrictions in how the file may be used.\n\n***\n",
        FIRST + SMALL_PRINT + "\n\nThis Etext is in German.\n\nWe are releasing two versions of this\nEtext.\n"
        "\nThis is the 7-bit version.\n\nDieses Buch wurde uns freundlicherweise von Freunden\ngegeben.\n",
        FIRST + SMALL_PRINT + "\n\n**The Project Gutenberg Etext of The Weir, by A. Author**\n",
        FIRST + "Terms.\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*\nVer.04.07.00*END*\n",
    ],
)
def test_a_head_of_any_age_ends_before_the_text(head):
    found = split_boilerplate(f"{head}\n\n\n{TEXT}\n\n\nEnd of Project Gutenberg's The Weir\n")
    assert found.text == TEXT
    assert found.head.startswith(FIRST)


def test_the_small_print_of_a_short_text_may_be_longer_than_the_text():
    found = split_boilerplate(f"{FIRST}{SMALL_PRINT}\n\nTwo lines\nof verse.\n\nEnd of this Etext of The Weir\n")
    assert (found.text, found.has_foot) == ("Two lines\nof verse.", True)


@pytest.mark.parametrize("said", ["", "We have moved most of the information to the end.\n\n"])
def test_a_small_print_behind_the_text_is_no_head(said):
    pages = (
        "This file should be named weir10.txt or weir10.zip\n\nInformation about Project Gutenberg\n\n" + SMALL_PRINT
    )
    found = split_boilerplate(
        f"{FIRST}{said}Title: The Weir\n\n\n{TEXT}\n\n\nEnd of The Project Gutenberg Etext\n{pages}"
    )
    assert found.text == TEXT


def test_notices_inside_the_text_are_no_text():
    notice = "<<THIS ELECTRONIC VERSION OF THE COMPLETE WORKS IS COPYRIGHT 1990\nAND IS PROVIDED BY A LIBRARY.>>\n\n\n"
    text = f"{FIRST}{SMALL_PRINT}\n\nACT I\n\n{notice}ACT II\n\nEnd of this Etext of The Weir\n"
    assert split_boilerplate(text).text == "ACT I\n\nACT II"


@pytest.mark.parametrize(
    ("head", "foot"),
    [
        (
            "Project Gutenberg of Australia\n\nTitle: The Weir\n* A Project Gutenberg of Australia eBook *\n\n"
            "Copyright laws are changing all over the world.\n\nDate most recently updated: May 2003\n\n-----\n",
            "Project Gutenberg Australia",
        ),
        (
            "* A Project Gutenberg Canada Ebook *\n\nThis ebook is made available at no cost.\n\n"
            "This work is in the Canadian public domain, but may be under copyright elsewhere."
            + " If it is, do not download it." * 10
            + "\n\nTitle: The Weir\nDate of first publication: 1920\n\nProject Gutenberg Canada ebook #50\n",
            "[End of _The Weir_ by A. Author]",
        ),
    ],
)
def test_books_of_other_gutenbergs_have_heads_and_feet(head, foot):
    text = TEXT.replace("THE END", "It rose again in autumn.\n\n" * 9 + "THE END")
    found = split_boilerplate(f"{head}\n\n\n{text}\n\n\n{foot}\n")
    assert (found.text, found.has_foot) == (text, True)


# ---- feet


@pytest.mark.parametrize("behind", ["", "\n\n" + SMALL_PRINT])
@pytest.mark.parametrize(
    "foot",
    [
        "End of the Project Gutenberg Etext of The Weir",
        "End of\nProject Gutenberg's The Weir",
        "THE END OF PROJECT GUTENBERG ETEXT OF THE WEIR",
        "The end of Project Gutenberg etext of The Weir",
        "Here ends the Project Gutenberg Etext of The Weir",
        "End of this Etext",
        "***End of The Project Gutenburg Etext of The Weir***",
        "*** END OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK THE WEIR ***\n\nThe licence.",
        "**This is a COPYRIGHTED Project Gutenberg Etext, Details Above**",
        "Ende dieses Projekt Gutenberg Etextes «Das Wehr»",
        "Ende dieses Etextes von Projekt Gutenberg",
        "Fin de Project Gutenberg Etext Le barrage",
        "Fin du Projet Gutenberg",
        "Fin del Proyecto Gutenberg",
        "Fine del progetto Gutenberg, Lo sbarramento",
        "Fine di questo Etext del Progetto Gutenberg",
        "Fim do Projeto Gutenberg",
        "Einde van het Project Gutenberg e-boek De stuw",
        "Slut på Project Gutenbergs Dammen",
        "Project Gutenbergin e-kirjan Pato loppu",
        "A Project Gutenberg e-book vége",
        "Wakas ng Project Gutenberg",
        "Ce document fut présenté en lecture par quelqu'un",
    ],
)
@pytest.mark.parametrize("between", ["\n", "\n\n\n"])
def test_a_foot_in_any_language_goes_and_the_end_stays(foot, between, behind):
    found = split_boilerplate(f"{FIRST}{SMALL_PRINT}\n\n{TEXT}{between}{foot}\n{behind}")
    assert (found.text, found.has_foot) == (TEXT, True)


@pytest.mark.parametrize(
    "last",
    ["Fin\n\nde la guerre.", "The end of the road\nwas near.", "He wrote of Johann Gutenberg.", "Finis coronat opus."],
)
def test_words_like_those_of_a_foot_are_the_books_own(last):
    assert split_boilerplate(f"{FIRST}{SMALL_PRINT}\n\nOne.\n\n{last}\n").text == f"One.\n\n{last}"


def test_the_text_between_a_foot_line_and_a_late_one_stays():
    middle = "The end of the Project Gutenberg Etext was near.\n\n" + "Rain fell on the weir all night.\n" * 200
    found = split_boilerplate(f"{FIRST}{SMALL_PRINT}\n\n{middle}\nEnd of Project Gutenberg's The Weir\n")
    assert found.text == middle.strip()


# ---- without a foot


def test_a_whole_text_without_a_foot_is_kept_with_a_note(tmp_path):
    (document,), tally = read_text(tmp_path, f"{FIRST}{SMALL_PRINT}\n\n{TEXT}\n")
    assert document.text == TEXT
    assert [(row.doc_id, row.verdict, row.reason) for row in tally.rows] == [(document.doc_id, "noted", Reason.NO_FOOT)]
    assert tally.counts()["dropped"] == tally.counts()["quarantined"] == tally.counts()["damaged_ranges"] == {}


def test_a_book_with_a_foot_has_no_note(tmp_path):
    (_,), tally = read_text(tmp_path, f"{FIRST}{SMALL_PRINT}\n\n{TEXT}\n\nEnd of Project Gutenberg's The Weir\n")
    assert tally.rows == []


def test_a_text_that_breaks_off_in_a_line_is_quarantined(tmp_path):
    documents, tally = read_text(tmp_path, f"{FIRST}{SMALL_PRINT}\n\n{TEXT}\n\nAnd then he went over the we")
    assert (documents, tally.quarantined) == ([], {Reason.TRUNCATED: 1})


def test_marks_of_bytes_inside_a_book_are_no_text(tmp_path):
    (document,), _ = read_text(
        tmp_path, f"{FIRST}{SMALL_PRINT}\n\n\ufeff{TEXT}\n\nEnd of Project Gutenberg's The Weir\n"
    )
    assert document.text == TEXT


@pytest.mark.parametrize(
    "piece", ["\n* ", "\nEnd ", "*** END OF ", "\n\n[", "Project Gutenberg\n\n", "\nThe end of the "]
)
def test_time_grows_as_the_file_does(piece):
    text = f"{FIRST}{SMALL_PRINT}\n\n{piece * (2_000_000 // len(piece))}"
    started = time.process_time()
    split_boilerplate(text)
    assert time.process_time() - started < 5


# ---- title and author


@pytest.mark.parametrize(
    ("head", "title", "author"),
    [
        ("The Project Gutenberg Etext of The Weir, by Ann Author", "The Weir", "Ann Author"),
        ("**The Project Gutenberg Etext of The Weir by Ann Author**", "The Weir", "Ann Author"),
        ("Project Gutenberg's The Weir, by Ann Author", "The Weir", "Ann Author"),
        ("Project Gutenberg's Etext of The Weir by Ann Author", "The Weir", "Ann Author"),
        ("The Project Gutenberg eBook, The Weir, by\nAnn Author", "The Weir", "Ann Author"),
        ("The Project Gutenberg Etext of\nThe Weir\nby\nAnn Author", "The Weir", "Ann Author"),
        ("*****The Project Gutenberg Etext of The Weir*****\n*****by Ann Author*****", "The Weir", "Ann Author"),
        ("The Project Gutenberg EBook of The Weir\n(#15 in our series by Ann Author)", "The Weir", "Ann Author"),
        ("The Project Gutenberg Etext of The Weir\n\nThe Weir\n\nby Ann Author", "The Weir", "Ann Author"),
        ("THE PROJECT GUTENBERG ETEXT OF THE WEIR BY A. N. AUTHOR.", "THE WEIR", "A. N. AUTHOR"),
        ("The Project Gutenberg Etext of The Inn by the Weir by Ann Author", "The Inn by the Weir", "Ann Author"),
        ("The Project Gutenberg Etext of The Inn by the Weir", "The Inn by the Weir", ""),
        (
            "The Project Gutenberg Etext of Stone by Stone\n#3 in our series by Ann Author",
            "Stone by Stone",
            "Ann Author",
        ),
        ("The Project Gutenberg Etext of Poems by Ann Author [in German]\n#1 in our series", "Poems", "Ann Author"),
        ("Project Gutenberg Etext The Weir, by Homer, translated by Ann Author", "The Weir", "Homer"),
        (
            "The Project Gutenberg Etext of The Weir, and what the miller's\nchildren saw, by Ann Author\n#2 in our",
            "The Weir, and what the miller's children saw",
            "Ann Author",
        ),
        ("The Project Gutenberg Etext of Das Wehr, von Anna Autor", "Das Wehr", "Anna Autor"),
        ("The Project Gutenberg Etext of Das Wehr von Anna Autor", "Das Wehr", "Anna Autor"),
        ("Projekt Gutenberg Etext von Das Wehr, von Anna Autor", "Das Wehr", "Anna Autor"),
        ("The Project Gutenberg Etext of The Weir -- by Ann Author", "The Weir", "Ann Author"),
        ("The Project Gutenberg Etext of Karl von Wehr", "Karl von Wehr", ""),
        ("The Project Gutenberg Etext of Karl von Wehr von Anna von Autor", "Karl von Wehr", "Anna von Autor"),
        (
            "The Project Gutenberg Etext of Karl von Wehr\n#4 in our series by Anna von Autor",
            "Karl von Wehr",
            "Anna von Autor",
        ),
        ("The Project Gutenberg Etext of Le barrage par Anne Auteur", "Le barrage", "Anne Auteur"),
        ("The Project Gutenberg Etext of Le barrage, de Anne Auteur", "Le barrage", "Anne Auteur"),
        ("The Project Gutenberg Etext of La presa de Tormes", "La presa de Tormes", ""),
        (
            "The Project Gutenberg Etext of La presa de Ana Autor\n#1 in our series by Ana Autor",
            "La presa",
            "Ana Autor",
        ),
        (
            "The Project Gutenberg Etext of The Inn by the Weir, by Le Sage\n#2 in our series by A. R. Le Sage",
            "The Inn by the Weir",
            "Le Sage",
        ),
        ("The Project Gutenberg Etext of The Weir by Ann (Miller) Author [1890]", "The Weir", "Ann (Miller) Author"),
        ("The Project Gutenberg Etext of The Weir by the Brothers Author", "The Weir", "the Brothers Author"),
        ("The Project Gutenberg Etext of The Weir by Ann Author, Vol. 2", "The Weir", "Ann Author"),
        ("The Project Gutenberg Etext of Poems by Ann Author, Series One", "Poems", "Ann Author"),
        ("The Project Gutenberg Etext of The Weir, by Homer, trans. Ann Author", "The Weir", "Homer"),
        ("The Project Gutenberg Etext of Two by Two by Ann Author", "Two by Two", "Ann Author"),
        ("The Project Gutenberg Etext of Day by Day with Ann", "Day by Day with Ann", ""),
        ("The Project Gutenberg Etext of X, by Ann Author\n\nTitle: The Weir", "The Weir", "Ann Author"),
        (
            "**This is a COPYRIGHTED Project Gutenberg Etext, Details Below**\nThe Project Gutenberg Etext of The Weir"
            " by Ann Author",
            "The Weir",
            "Ann Author",
        ),
        ("The Project Gutenberg Etext of X\n\nTitle: The Weir\n\nAuthor: Ann Author", "The Weir", "Ann Author"),
    ],
)
def test_title_and_author_stand_apart(head, title, author):
    assert title_and_author(f"{head}\n\nPlease take a look at the important information.\n\nJuly, 1997\n") == (
        title,
        author,
    )


def test_the_small_print_names_no_author():
    head = "The Project Gutenberg Etext of The Weir\n\n" + SMALL_PRINT + "\nby Chance\n"
    assert title_and_author(head) == ("The Weir", "")


def test_the_test_text_is_no_boilerplate_itself():
    assert not re.search("gutenberg|e-?text|e-?book", TEXT, re.IGNORECASE)
