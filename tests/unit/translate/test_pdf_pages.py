"""The pages of a PDF: of those that show them, of those that do not, and of what is none."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.translate.pdf_pages import HIDDEN, MOST, PAGE_TOKENS, page_tokens, pages

PAGE = b"<</Type/Page/Parent 2 0 R/Contents 3 0 R>>"
TREE = b"<</Type/Pages/Count %d/Kids[%s]/MediaBox[0 0 612 792]>>"
CATALOGUE = b"<</Type/Catalog/Pages 2 0 R/Outlines 9 0 R>>"
OUTLINES = b"<</Type/Outlines/First 10 0 R/Count 250>>"


def tree(number: int, count: int | None = None) -> bytes:
    return TREE % (number if count is None else count, b" ".join([b"%d 0 R" % (5 + each) for each in range(number)]))


def pdf(*objects: bytes) -> bytes:
    """Return a file of these objects."""
    return b"%PDF-1.5\n" + b"".join([b"%d 0 obj %s endobj\n" % each for each in enumerate(objects, 1)]) + b"%%EOF"


def stream(*objects: bytes, first: bytes = b"/First %d") -> bytes:
    """Return an object stream of these objects."""
    places, body = [], b""
    for number, each in enumerate(objects, 20):
        places.append(b"%d %d" % (number, len(body)))
        body += each + b" "
    table = b" ".join(places) + b" "
    data = zlib.compress(table + body)
    head = b"<</Type/ObjStm/N %d%s/Length %d/Filter/FlateDecode>>" % (
        len(objects),
        first % len(table) if first else b"",
        len(data),
    )
    return head + b"stream\r\n" + data + b"\nendstream"


SEEN = {
    "page objects": (pdf(CATALOGUE, tree(3, 0), PAGE, PAGE, PAGE), 3),
    "blanks in them": (pdf(CATALOGUE, tree(1), PAGE.replace(b"/Page/", b" \r\n /Page /")), 1),
    "one page that the tree names often": (pdf(CATALOGUE, tree(40, 1), PAGE), 40),
    "a tree of trees": (pdf(CATALOGUE, tree(2, 90), tree(2, 45), PAGE), 90),
    "bookmarks": (pdf(CATALOGUE, tree(2), OUTLINES, PAGE, PAGE), 2),
    "an object stream": (pdf(stream(CATALOGUE, tree(7), OUTLINES, *[PAGE] * 7)), 7),
    "an object stream that does not say where its objects begin": (pdf(stream(CATALOGUE, tree(7), first=b"")), 7),
    "two object streams": (pdf(stream(CATALOGUE, tree(7), PAGE, PAGE), stream(*[PAGE] * 5)), 7),
    "both": (pdf(CATALOGUE, tree(3), PAGE, stream(PAGE, PAGE)), 3),
    "escapes in other names": (pdf(CATALOGUE, tree(1), PAGE, b"<</BaseFont/Arial#20Bold>>"), 1),
    "very many": (pdf(CATALOGUE, tree(1, 10**9), PAGE), MOST),
}

UNSEEN = {
    "nothing": b"",
    "no page": b"%PDF-1.7\n",
    "a name with escapes": pdf(CATALOGUE, tree(1), PAGE, PAGE.replace(b"/Page/", b"/P#61ge/")),
    "very many escapes": pdf(CATALOGUE, tree(1), PAGE, b"/a#41 " * 1000),
    "a tree in another object": pdf(CATALOGUE, b"<</Type/Pages/Count 1/Kids 7 0 R>>", PAGE),
    "a stream of another filter": pdf(CATALOGUE, tree(1), PAGE, b"<</Type/ObjStm>>stream\n/Type/Page\nendstream"),
    "a stream without an end": pdf(CATALOGUE, tree(1), PAGE, stream(PAGE)[:-10]),
    "a long stream": pdf(CATALOGUE, tree(1), PAGE, stream(bytes(100_000))),
    "very many streams": pdf(CATALOGUE, tree(1), PAGE, *[stream(b"")] * 1001),
    "very many nodes": pdf(CATALOGUE, *[b"<</Type/Pages>>"] * 1000),
}


@pytest.mark.parametrize("name", SEEN)
def test_the_pages_that_a_file_shows(name: str) -> None:
    content, expected = SEEN[name]
    assert pages(content) == expected


@pytest.mark.parametrize("name", UNSEEN)
def test_a_file_that_may_hide_pages_has_as_many_as_claude_takes(name: str) -> None:
    assert pages(UNSEEN[name]) == HIDDEN


def test_a_file_that_hides_some_pages_has_no_fewer_than_it_shows() -> None:
    assert pages(pdf(CATALOGUE, tree(1, 200), PAGE.replace(b"/Page/", b"/#50age/"))) == 200


def test_what_pages_have_beyond_their_length() -> None:
    small = pdf(CATALOGUE, tree(2), PAGE, PAGE)
    assert page_tokens(small) == 2 * PAGE_TOKENS - len(small) // 16
    assert page_tokens(small + b" " * 1_000_000) == 0, "a scan's pages have more by their length"


STREAM = zlib.compress(b"5 0 5 3 /Pages")


@given(
    st.lists(
        st.sampled_from([b"/Type", b"/Page", b"/Pages", b"/Kids[", b"/Count ", b"9", b"/ObjStm", b"/First 4 ", b"obj "])
        | st.sampled_from([b"stream\n", b"endstream", b"endobj", b"5 0 R", b"]", b"#41", STREAM])
        | st.binary(max_size=4)
    )
)
def test_nothing_is_an_error(parts: list[bytes]) -> None:
    assert 1 <= pages(b"".join(parts)) <= MOST
