"""Parts of a model's text that are not the client's content, taken out of it piece by piece.

`InlineReasoning` is the reasoning that some models write into their text, in a tag: `<thinking>…</thinking>`. It counts
at the beginning of a text block only, and a few in a row count: a tag further on is something that the model writes
about. The white space behind it is dropped, since it only separates. Reasoning that was cut off has no end tag.

`Fence` is a Markdown code fence around JSON that was requested in words. The opening is taken off if JSON follows it,
the closing if nothing follows. Any other fence stays.

Both withhold a few characters: those that may be the beginning of a tag or of a fence.

Invariant: however a text is cut, the pieces join to the same.

Decision: docs/decisions.md, D130.
"""

import re
from enum import Enum, auto

_MAX_BLANK = 64
"""Most characters of white space before a tag or a fence, and between a fence and the JSON in it."""
_MOST_TAGS = 16
"""Most tags at the beginning of a text: models write one or two, and each takes the event loop a microsecond."""
_BLANK = re.compile(r"\s*")
_FENCE = r"(?:`{3,6}|~{3,6})"
_OPENING = re.compile(rf"\s{{0,{_MAX_BLANK}}}({_FENCE})[\w+-]{{0,16}}\s{{0,{_MAX_BLANK}}}(?=[\[{{])")
_BEGINNING = re.compile(rf"\s{{0,{_MAX_BLANK}}}(?:`{{0,6}}|~{{0,6}}|{_FENCE}[\w+-]{{0,16}}\s{{0,{_MAX_BLANK}}})")
"""A text that may become an opening fence."""
_MAX_TRAILING = 8
"""Most characters of white space behind a closing fence."""
_LONGEST_CLOSING = 2 + 6 + _MAX_TRAILING
"""A line break, the fence, and white space."""


class _Place(Enum):
    """The places in a text."""

    START = auto()
    REASONING = auto()
    AFTER = auto()
    """Behind the reasoning, before any content."""
    CONTENT = auto()


class InlineReasoning:
    """The reasoning at the beginning of one text block."""

    def __init__(self, tag: str) -> None:
        self._opening = f"<{tag}>"
        self._closing = f"</{tag}>"
        self._place = _Place.START
        self._held = ""
        self._tags = 0

    def feed(self, text: str) -> tuple[str, str]:
        """Return the reasoning and the content that `text` completes."""
        if self._place is _Place.CONTENT:
            return "", text
        text, at = self._held + text, 0
        reasoning: list[str] = []
        while True:
            if self._place is _Place.REASONING:
                end = text.find(self._closing, at)
                if end < 0:
                    self._hold(text, len(text) - _overlap(text, self._closing, at))
                    reasoning.append(text[at : len(text) - len(self._held)])
                    return "".join(reasoning), ""
                reasoning.append(text[at:end])
                at = end + len(self._closing)
                self._place = _Place.AFTER
            content = self._open(text, at)
            if content is not None:
                return "".join(reasoning), content
            at = text.index(self._opening, at) + len(self._opening)

    def end(self) -> tuple[str, str]:
        """Return what was withheld, at the end of the block."""
        held, self._held = self._held, ""
        return (held, "") if self._place is _Place.REASONING else ("", held)

    def _open(self, text: str, at: int) -> str | None:
        """Return the content from `at` on, empty if there is none yet; None where a tag begins reasoning."""
        blank = _BLANK.match(text, at)
        start = blank.end() if blank else at
        beginning = at if self._place is _Place.START else start
        ahead = text[start : start + len(self._opening)]
        counts = self._tags < _MOST_TAGS or not ahead
        if counts and start - beginning <= _MAX_BLANK and self._opening.startswith(ahead):
            if ahead == self._opening:
                self._tags += 1
                self._place = _Place.REASONING
                return None
            self._hold(text, beginning)
            return ""
        self._place = _Place.CONTENT
        self._held = ""
        return text[beginning:]

    def _hold(self, text: str, start: int) -> None:
        self._held = text[start:]


def _overlap(text: str, word: str, at: int) -> int:
    """Return the length of the longest beginning of `word`, not all of it, that `text` ends with, from `at` on."""
    longest = min(len(word) - 1, len(text) - at)
    return next((length for length in range(longest, 0, -1) if text.endswith(word[:length])), 0)


class Fence:
    """A code fence around a message's whole content."""

    def __init__(self) -> None:
        self._held = ""
        self._fence: str | None = None
        """None before it is found; empty if there is none."""
        self._removed = 0
        """Characters that were taken off at the beginning."""
        self._length = 0
        """Characters of content so far."""

    def feed(self, text: str) -> str:
        """Return the content that `text` completes."""
        content = self._feed(text)
        self._length += len(content)
        return content

    def end(self) -> str:
        """Return what was withheld, without the closing fence, at the end of the content."""
        content = self._end()
        self._length += len(content)
        return content

    def place(self, at: int) -> int:
        """Return the place in the content of the character `at` of the text, after the end."""
        return min(max(0, at - self._removed), self._length)

    def _feed(self, text: str) -> str:
        if self._fence == "":
            return text
        text = self._held + text
        if self._fence is None:
            opening = _OPENING.match(text)
            if opening is None:
                return self._unopened(text)
            self._fence = opening[1]
            self._removed = opening.end()
            text = text[self._removed :]
        place = max(0, len(text) - _LONGEST_CLOSING)
        self._held = text[place:]
        return text[:place]

    def _end(self) -> str:
        held, self._held = self._held, ""
        body = held.rstrip()
        if not self._fence or len(held) - len(body) > _MAX_TRAILING or not body.endswith(self._fence):
            return held
        return body.removesuffix(self._fence).removesuffix("\n").removesuffix("\r")

    def _unopened(self, text: str) -> str:
        if _BEGINNING.fullmatch(text):
            self._held = text
            return ""
        self._fence = self._held = ""
        return text
