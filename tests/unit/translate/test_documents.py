"""The format of a document: its sources and their order; and its name."""

import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.documents import by_extension, document_format, document_name, is_broken


def office(*names: str) -> bytes:
    """Return the parts of an Office document that show its format."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    return buffer.getvalue()


WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("content", "media_type", "filename", "expected"),
    [
        (b"%PDF-1.7", "text/plain", "a.txt", "pdf"),
        (b"anything", "application/pdf", "a.txt", "pdf"),
        (b"\xd0\xcf\x11\xe0", "application/msword", "", "doc"),
        (b"\xd0\xcf\x11\xe0", "application/vnd.ms-excel", "", "xls"),
        (b"PK\x03\x04", WORD, "a.zip", "docx"),
        (b"a,b", "text/csv", "a.txt", "csv"),
        (b"# a", "text/markdown", "", "md"),
        (b"<p>", "text/html", "", "html"),
        (office("[Content_Types].xml", "word/document.xml"), "application/octet-stream", "a.pdf", "docx"),
        (office("[Content_Types].xml", "xl/workbook.xml"), "", "", "xlsx"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "", "a.txt", "html"),
        (b"<HTML>", "", "", "html"),
        (b"\xd0\xcf\x11\xe0", "", "Old.DOC", "doc"),
        (b"\xd0\xcf\x11\xe0", "application/octet-stream", "old.xls", "xls"),
        (b"a,b", "text/plain", "a.csv", "csv"),
        (b"# a", "", "a.markdown", "md"),
        (b"plain", "text/plain", "", "txt"),
        (b'{"a": 1}', "application/json", "a.json", "txt"),
        ("Zürich".encode(), "", "", "txt"),
        (b"plain", "", "", "txt"),
        (b"\xff\xfe\x00", "", "a.bin", None),
        (b"a\x00b", "text/plain", "", None),
        (b"", "", "", None),
        (office("x"), "application/zip", "a.zip", None),
        (b"\x89PNG\r\n\x1a\n", "image/png", "a.png", None),
    ],
)
def test_the_first_that_knows_counts(content: bytes, media_type: str, filename: str, expected: str | None) -> None:
    assert document_format(content, media_type, filename) == expected


def test_a_pdf_has_its_mark_near_the_beginning() -> None:
    assert not is_broken(b"%PDF-1.4", "pdf")
    assert not is_broken(bytes(1000) + b"%PDF-1.4", "pdf")
    assert is_broken(bytes(1024) + b"%PDF-1.4", "pdf")
    assert not is_broken(b"hi", "txt")


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("contract.pdf", "contract"),
        ("Q3_report.final.PDF", "Q3-report-final"),
        ("report (1) [draft].docx", "report (1) [draft]"),
        ("C:\\files\\a  b.txt", "a b"),
        ("s3://bucket/folder/a.md", "a"),
        ("Société Générale.pdf", "Societe Generale"),
        ("main.py", "main-py"),
        ("archive.tar.gz", "archive-tar-gz"),
        (".pdf", "pdf"),
        ("a\n\tb.txt", "a b"),
        ("--a--.txt", "a"),
        ("契約.pdf", ""),
        ("folder/", ""),
        ("", ""),
        ("a" * 300 + ".pdf", "a" * 190),
    ],
)
def test_a_name_is_made_fit(filename: str, name: str) -> None:
    assert document_name(filename) == name


@given(st.text() | st.text(st.sampled_from("a -.\n()é契/")))
def test_any_file_name_becomes_a_fit_one_or_none(filename: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9\-()\[\]]+( [A-Za-z0-9\-()\[\]]+)*)?", document_name(filename))


@pytest.mark.parametrize("read", [document_name, by_extension])
@pytest.mark.parametrize("form", ["%s", "%s.PDF", "folder\\%s", "a.%s", "%s/a.txt"])
def test_a_long_file_name_is_not_copied(form: str, read: Callable[[str], object]) -> None:
    """To make text beyond ASCII lower case takes twelve bytes a character, beside four for each copy."""
    filename = form % ("\U0001f600" * 200_000)
    tracemalloc.start()
    read(filename)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 65_536


@pytest.mark.parametrize(
    ("filename", "extension"),
    [("a.MarkDown", "md"), ("pdf", "pdf"), ("a.b.htm", "html"), ("apdf", None), ("a.xmarkdown", None), ("a.", None)],
)
def test_an_extension_is_all_behind_the_last_dot(filename: str, extension: str | None) -> None:
    assert by_extension(filename) == extension
