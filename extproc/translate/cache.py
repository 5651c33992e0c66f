"""Marks for the prompt cache -> Bedrock's cache points.

A mark on a part or a message becomes a `cachePoint` behind what it stands on. Where the model has no cache points, a
mark changes nothing but costs; it is left out and named among what was ignored. Of too many, the oldest go: what
comes later includes what came before it.

A cache point is never first, nor right behind a document, sound or video, which Bedrock refuses
(https://github.com/pydantic/pydantic-ai/issues/7004).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import UNSET

from extproc.bedrock.capabilities import CachePlace, CacheTtl, Capabilities
from extproc.bedrock.converse import Audio, CachePoint, CachePointBody, Document, SystemBlock, Text, Video
from extproc.openai.chat import Marked

PLACEHOLDER = "."
"""Stands where Bedrock wants a text and the client gave none; it may not be blank."""

_TTLS: dict[str, CacheTtl] = {"5m": "5m", "1h": "1h", "30m": "1h", "12h": "1h"}
"""Bedrock's for what clients ask for; twelve hours it does not have."""
_SHORT: tuple[str, ...] = ("5m", "1h", "30m")
"""Those that can be kept in full."""

_Name = Literal["cache_control", "prompt_cache_breakpoint"]


class CacheMarks:
    """The marks of one request's messages."""

    def __init__(self, capabilities: Capabilities, taken: int) -> None:
        """`taken`: how many cache points there are already, beside the tools."""
        self._capabilities = capabilities
        self._most = max(capabilities.cache_points - taken, 0)
        self._made = 0
        self._names: set[str] = set()
        """Fields that became cache points."""
        self.ignored: set[str] = set()
        """Names of the fields that changed nothing."""

    def put(self, marked: Marked, blocks: list[Any], place: CachePlace) -> None:
        """A cache point at the end of `blocks`, if `marked` has a mark, and there is something to cache."""
        if marked.cache_control is None and marked.prompt_cache_breakpoint is None:
            return
        point = self._point(marked, place)
        if point is None or not blocks or isinstance(blocks[-1], CachePoint):
            return
        if isinstance(blocks[-1], Document | Audio | Video):
            blocks.append(Text(PLACEHOLDER))
        blocks.append(point)
        self._made += 1

    def moved(self, system: Sequence[SystemBlock]) -> list[SystemBlock]:
        """What was meant for `system` and becomes a turn: its cache points stay only where a turn may have them."""
        if "messages" in self._capabilities.cache:
            return [*system]
        texts: list[SystemBlock] = [block for block in system if not isinstance(block, CachePoint)]
        self._made -= len(system) - len(texts)
        return texts

    def trim(self, lists: Iterable[list[Any]]) -> None:
        """Take the oldest cache points out of `lists`, as many as there are too many."""
        surplus = self._made - self._most
        if surplus <= 0:
            return
        self.ignored |= self._names
        for blocks in lists:
            for position in reversed(_positions(blocks)[:surplus]):
                del blocks[position]
                surplus -= 1
            if not surplus:
                return

    def _point(self, marked: Marked, place: CachePlace) -> CachePoint | None:
        name, asked = _asked(marked)
        if place not in self._capabilities.cache:
            self.ignored.add(name)
            return None
        self._names.add(name)
        ttl = None if asked is None else _TTLS[asked]
        if ttl in self._capabilities.cache_ttls:
            if asked not in _SHORT:
                self.ignored.add(f"{name}.ttl")
            return CachePoint(CachePointBody(ttl=ttl))
        if ttl == "1h":
            self.ignored.add(f"{name}.ttl")
        return CachePoint(CachePointBody(ttl=UNSET))


def _asked(marked: Marked) -> tuple[_Name, str | None]:
    """The field that has the mark, and its `ttl`."""
    if marked.cache_control is not None:
        return "cache_control", marked.cache_control.ttl
    assert marked.prompt_cache_breakpoint is not None
    return "prompt_cache_breakpoint", marked.prompt_cache_breakpoint.ttl


def _positions(blocks: Sequence[Any]) -> list[int]:
    return [position for position, block in enumerate(blocks) if isinstance(block, CachePoint)]
