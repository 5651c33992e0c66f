"""The pages of a PDF, as far as its bytes show them: what it costs depends on them, and not on its length.

A PDF is not parsed. Its pages are the largest of three numbers, as readers go by one or another: of its page objects,
of the references in `/Kids`, and the `/Count` of its page tree. Since version 1.5 these may be in object streams,
which are inflated, within a limit. A file that shows no page, or keeps something from being seen, has `HIDDEN` pages at
least. It is an estimate, and whoever wants to can write a file whose pages are not seen here.

Invariant: linear time and bounded memory, whatever the file is; no error.

Source: ISO 32000-1, 7.3.5 (names), 7.5.7 (object streams) and 7.7.3 (the page tree).

Decision: docs/decisions.md, D330.
"""

import re
import zlib
from bisect import bisect_right
from itertools import islice
from typing import Final

HIDDEN: Final = 100
"""Pages of a file that does not show them: as many as a request may have for a Claude with a context of 200,000 tokens
(https://platform.claude.com/docs/en/build-with-claude/pdf-support)."""

MOST: Final = 333
"""Most pages that a file has: with `PAGE_TOKENS` for each it has the longest context that there is."""

PAGE_TOKENS: Final = 3_000
"""Tokens of a page: the most that Anthropic's page on PDFs has for its text, of 1,500 to 3,000."""

PDF_BYTES_PER_TOKEN: Final = 16
"""Bytes of a PDF that are about a token: its compression, fonts and pictures make it 5 to 42, a scan's pages more."""

_MOST_STREAMS: Final = 1_000
_MOST_ESCAPED: Final = 1_000
_MOST_NODES: Final = 1_000
"""Most nodes of the page tree that are looked at, and arrays and numbers in it."""
_LONGEST_TABLE: Final = 65_536
_LONGEST_INFLATED: Final = 16 * 1024 * 1024
_INFLATED_FOR_ONE: Final = 4
"""Bytes of object streams that are read for each byte of the file."""

_PAGE: Final = re.compile(rb"/Type[\x00\t\n\f\r ]{0,8}/Page(?![A-Za-z#])")
_KIDS: Final = re.compile(rb"/Kids[\x00\t\n\f\r ]{0,8}\[([^\[\]]*)")
_KIDS_ELSEWHERE: Final = re.compile(rb"/Kids[\x00\t\n\f\r ]{0,8}[0-9]")
_COUNT: Final = re.compile(rb"/Count[\x00\t\n\f\r ]{0,8}\+?0*([0-9]{1,9})")
_FIRST: Final = re.compile(rb"/First[\x00\t\n\f\r ]{1,8}([0-9]{1,9})")
_ESCAPED: Final = re.compile(rb"/[A-Za-z]{0,6}#[0-9A-Fa-f]{2}[A-Za-z0-9#]{0,24}")
_NAMES: Final = frozenset({b"/Type", b"/Page", b"/Pages", b"/Kids", b"/Count", b"/ObjStm"})
_HEX: Final = re.compile(rb"#([0-9A-Fa-f]{2})")


def page_tokens(content: bytes) -> int:
    """Return how many tokens the pages of a PDF have beyond those that it has by its length."""
    return max(pages(content) * PAGE_TOKENS - len(content) // PDF_BYTES_PER_TOKEN, 0)


def pages(content: bytes) -> int:
    """Return about how many pages a PDF has."""
    found = _Found()
    found.look(content, None)
    if not _look_in_streams(found, content) or _is_escaped(content):
        found.hidden = True
    most = max(found.objects, found.kids, found.most)
    return min(max(most, HIDDEN) if found.hidden or not most else most, MOST)


class _Found:
    """What was found so far: page objects, references to `kids`, and the largest `/Count`."""

    def __init__(self) -> None:
        self.objects = 0
        self.kids = 0
        self.most = 0
        self.hidden = False
        self._rest = _MOST_NODES

    def look(self, text: bytes, starts: list[int] | None) -> None:
        """Look at objects; `starts` are their places in an object stream."""
        self.objects += sum([1 for _ in islice(_PAGE.finditer(text), MOST)])
        end, at = 0, text.find(b"/Pages")
        while at >= 0 and self._rest > 0:
            if starts is None:
                start, end = max(text.rfind(b"endobj", end, at), end), text.find(b"endobj", at)
            else:
                place = bisect_right(starts, at)
                start = max(starts[place - 1], end) if place else end
                end = starts[place] if place < len(starts) else -1
            if end <= at:
                end = len(text)
            self._node(text[min(start, at) : end])
            at = text.find(b"/Pages", end)
        if self._rest <= 0:
            self.hidden = True

    def _node(self, text: bytes) -> None:
        """Look at an object that names the page tree: one of its nodes, or the catalogue."""
        for found in islice(_KIDS.finditer(text), self._rest):
            self.kids += found.group(1).count(b"R")
            self._rest -= 1
        for found in islice(_COUNT.finditer(text), max(self._rest, 0)):
            self.most = max(self.most, int(found.group(1)))
            self._rest -= 1
        self._rest -= 1
        if _KIDS_ELSEWHERE.search(text):
            self.hidden = True


def _look_in_streams(found: _Found, content: bytes) -> bool:
    """Look into the object streams of a file; return whether all of them could be read."""
    room = min(_INFLATED_FOR_ONE * len(content), _LONGEST_INFLATED)
    number, at, end = 0, content.find(b"/ObjStm"), 0
    while at >= 0:
        begun = max(content.rfind(b"endobj", end, at), end)
        start, end = content.find(b"stream", at), content.find(b"endstream", at)
        if start < 0 or end <= start or number == _MOST_STREAMS:
            return False
        try:
            # Line breaks are before the first byte of zlib's, which is none.
            data = content[start + len(b"stream") : end].lstrip(b"\r\n")
            part = zlib.decompressobj().decompress(data, room + 1)
        except zlib.error:  # another filter, or it is encrypted
            return False
        room -= len(part)
        if room < 0:
            return False
        found.look(part, _starts(content[begun:start], part))
        number += 1
        at = content.find(b"/ObjStm", end)
    return True


def _starts(dictionary: bytes, part: bytes) -> list[int]:
    """Return where the objects of an object stream begin; none where that cannot be read."""
    first = _FIRST.search(dictionary)
    length = int(first.group(1)) if first else 0
    if not 0 < length < min(len(part), _LONGEST_TABLE):
        return []
    try:
        return [length + int(number) for number in part[:length].split()[1::2]]
    except ValueError:
        return []


def _is_escaped(content: bytes) -> bool:
    """Return whether a name that matters here is spelt with escapes, or may be: there are very many of these."""
    if b"#" not in content:
        return False
    number = 0
    for found in islice(_ESCAPED.finditer(content), _MOST_ESCAPED):
        if _HEX.sub(_character, found.group()) in _NAMES:
            return True
        number += 1
    return number == _MOST_ESCAPED


def _character(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape.group(1).decode())
