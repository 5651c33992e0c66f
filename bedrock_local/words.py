"""Pick words and numbers out of the user's text, to fill a tool's arguments with plausible values."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|`([^`]+)`')
_CAPITALISED = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w-]+(?:\s+[A-Z][\w-]+)*")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?(?!\w)")


@dataclass(slots=True)
class Words:
    """The names and the numbers of a text, each returned once, in order."""

    text: str
    _names: Iterator[str] = field(init=False)
    _numbers: Iterator[float] = field(init=False)

    def __post_init__(self) -> None:
        self._names = iter(names(self.text))
        self._numbers = iter([float(number) for number in _NUMBER.findall(self.text)])

    def name(self) -> str | None:
        """Return the next name, or None if none is left."""
        return next(self._names, None)

    def number(self) -> float | None:
        """Return the next number, or None if none is left."""
        return next(self._numbers, None)


def names(text: str) -> list[str]:
    """List the quoted parts of the text, or else its runs of capitalised words that begin no sentence."""
    quoted = ["".join(groups) for groups in _QUOTED.findall(text)]
    return quoted or _CAPITALISED.findall(text)


#: Words of tool names that do not describe the tool.
_VERBS = """
    a add call compute create do fetch find fn for from function get go in list look lookup make my of on query read
    run search set show tell the to tool update use with write
"""


def mentioned(tool_names: list[str], text: str) -> list[str]:
    """List the tools that a text names: in full, or else by a word that describes them."""
    lowered = text.lower()
    full = [name for name in tool_names if re.search(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", lowered)]
    if full:
        return full
    spoken = set(re.findall(r"\w+", lowered))
    return [name for name in tool_names if spoken & _descriptive(name)]


def _descriptive(tool_name: str) -> set[str]:
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", tool_name)}
    return {part for part in parts - set(_VERBS.split()) if len(part) > 2} or parts
