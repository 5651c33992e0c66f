"""The tools of a stream whose blocks have not ended. The input of some is not for the client, and is dropped.

Invariant: input belongs to a block that has begun and not ended, or it is a `ConverseResponseError`: without its
beginning or its end, a call would be another one.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from io import StringIO

from extproc.bedrock.converse_response import ConverseResponseError
from extproc.translate.renaming import Renamer


class Form(Enum):
    """The chunks that a tool's input becomes."""

    ANSWER = auto()
    CALL = auto()
    CUSTOM = auto()
    LEGACY = auto()


@dataclass(slots=True)
class Tool:
    """A tool's block that has not ended; `index` is the call's place in `tool_calls`."""

    form: Form
    renamer: Renamer | None
    """Puts back the client's names of properties."""
    index: int = 0
    empty: bool = True
    held: StringIO = field(default_factory=StringIO)


class OpenTools:
    """The tools by the indexes of their blocks; None is one whose input is dropped."""

    def __init__(self) -> None:
        self._tools: dict[int, Tool | None] = {}

    def begin(self, block: int, tool: Tool | None) -> None:
        """Begin a block. Raises `ConverseResponseError` if it has begun and not ended."""
        if block in self._tools:
            raise ConverseResponseError("a tool's block begins again before it has ended")
        self._tools[block] = tool

    def of(self, block: int) -> Tool | None:
        """Return the tool to which the input of a block belongs. Raises `ConverseResponseError` if there is none."""
        try:
            return self._tools[block]
        except KeyError:
            raise ConverseResponseError("input of a tool whose block has not begun, or has ended") from None

    def end(self, block: int) -> Tool | None:
        """End a block; return its tool, if it is one and its input is for the client."""
        return self._tools.pop(block, None)

    def blocks(self) -> tuple[int, ...]:
        """Return the indexes of the blocks."""
        return tuple(self._tools)
