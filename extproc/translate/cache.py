"""Marks for the prompt cache -> Bedrock's cache points.

A mark on a part or a message becomes a `cachePoint` after it. If the model has no cache points, the mark, which only
affects costs, is left out and reported as ignored, as is one on a blank text. Of too many, the oldest are left out: a
later one includes the text before it. So are the marks on a turn's tool results, except the last.

A cache point is never first, nor directly after a document, sound or video, which Bedrock rejects
(https://github.com/pydantic/pydantic-ai/issues/7004). Nor is one of an hour after one of five minutes, in the order in
which Bedrock reads them (tools, `system`, messages): it becomes one of five minutes, and its `ttl` is named
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching#mixing-different-ttls).

An organisation may have prompts cached without marks, as OpenAI caches them: `implicit_caching`.

Decisions: docs/decisions.md, D22, D138.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET

from extproc.bedrock.capabilities import CachePlace, CacheTtl, Capabilities
from extproc.bedrock.converse import (
    AudioContent,
    CachePointBlock,
    CachePointContent,
    DocumentContent,
    SystemContentBlock,
    TextContent,
    VideoContent,
)
from extproc.openai.chat import PromptCacheOptions
from extproc.openai.messages import Marked
from extproc.translate.ignored import Ignored

PLACEHOLDER = "."
"""The text in places where Bedrock requires one and the client has none; it may not be blank."""

_TTLS: dict[str, CacheTtl] = {"5m": "5m", "1h": "1h", "30m": "1h", "12h": "1h"}
"""Bedrock's `ttl` for each of the clients'; it has no twelve hours."""
USUAL_TTL = "30m"
"""The `ttl` of OpenAI's breakpoints where the request has none."""
_OPTIONS = "prompt_cache_options"
_NO_OPTIONS = PromptCacheOptions()
_SHORT: tuple[str, ...] = ("5m", "1h", "30m")
"""Values of `ttl` that Bedrock has in full."""


class CacheMarks:
    """The marks of one request's messages."""

    def __init__(
        self,
        capabilities: Capabilities,
        tools: Sequence[CachePointContent],
        ignored: Ignored,
        options: PromptCacheOptions | None = None,
    ) -> None:
        """`tools`: the cache points after tools. `options`: of the request's cache points."""
        self._capabilities = capabilities
        self._options = options or _NO_OPTIONS
        self._kept_ttl = False
        """Whether a cache point has the options' `ttl`."""
        self._ignored = ignored
        self._tools = tools
        self._points: list[CachePointContent] = []
        self._paths: dict[int, str] = {}
        """The path of the field behind each of these cache points, by the point's identity."""

    def put(self, marked: Marked, path: str, blocks: list[Any], place: CachePlace) -> None:
        """Put a cache point at the end of `blocks`, if `marked` has a mark and `blocks` is not empty.

        `path` is the path of `marked`, as `Ignored` names it.
        """
        if not is_marked(marked):
            return
        field, ttl = self._mark(marked, path)
        if place not in self._capabilities.cache:
            self._ignored.add(field)
            return
        point = self._point(field, ttl)
        if not blocks:
            self._ignored.add(field)
            return
        if isinstance(blocks[-1], CachePointContent):
            if point.cache_point.ttl == "1h" and blocks[-1].cache_point.ttl != "1h":
                self._ignored.add(f"{field}.ttl")
            return
        if isinstance(blocks[-1], DocumentContent | AudioContent | VideoContent):
            blocks.append(TextContent(PLACEHOLDER))
        blocks.append(point)
        self._points.append(point)
        self._paths[id(point)] = field

    def drop(self, marked: Marked, path: str) -> None:
        """Report a mark without a place as ignored."""
        self._ignored.add(self._mark(marked, path)[0])

    def moved(self, system: Sequence[SystemContentBlock]) -> list[SystemContentBlock]:
        """Return blocks of `system` that move to a turn, without cache points if a turn may not have them."""
        if "messages" in self._capabilities.cache:
            return [*system]
        self._ignore([block for block in system if isinstance(block, CachePointContent)])
        return [block for block in system if not isinstance(block, CachePointContent)]

    def finish(self, lists: Sequence[list[Any]]) -> None:
        """Apply the limits of number and `ttl` to the cache points in `lists`, which are in Bedrock's order."""
        if self._capabilities.implicit_caching or self._options is not _NO_OPTIONS:
            self._imply(lists[0], lists[-1] if len(lists) > 1 else [])
        if self._options.ttl is not None and not self._kept_ttl:
            self._ignored.add(f"{_OPTIONS}.ttl")
        if not self._points:
            return
        self._trim(lists)
        points = [block for blocks in lists for block in blocks if isinstance(block, CachePointContent)]
        self._ignore(shortened([*self._tools, *points]), ".ttl")

    def _imply(self, system: list[Any], last_turn: list[Any]) -> None:
        """Put cache points without marks: behind the last turn and, if the client has no marks, behind `system`."""
        implicit = self._capabilities.implicit_caching
        if self._options.mode == "implicit" and not (implicit and self._capabilities.cache):
            self._ignored.add(f"{_OPTIONS}.mode")
        if not implicit or self._options.mode == "explicit":
            return
        places: list[tuple[CachePlace, list[Any]]] = [("messages", last_turn)]
        if not self._points and not self._tools:
            places.append(("system", system))
        for place, blocks in places:
            if place in self._capabilities.cache and blocks and not isinstance(blocks[-1], CachePointContent):
                if isinstance(blocks[-1], DocumentContent | AudioContent | VideoContent):
                    blocks.append(TextContent(PLACEHOLDER))
                point = self._point(_OPTIONS, self._options.ttl)
                self._kept_ttl = self._kept_ttl or point.cache_point.ttl == "1h"
                blocks.append(point)
                self._points.append(point)

    def _mark(self, marked: Marked, path: str) -> tuple[str, str | None]:
        """Return the path of the field that has the mark, and its `ttl`.

        A breakpoint without one lives as long as the request's options have it, which is half an hour by default.
        """
        if marked.cache_control is not None:
            return f"{path}.cache_control", marked.cache_control.ttl
        assert marked.prompt_cache_breakpoint is not None
        return f"{path}.prompt_cache_breakpoint", marked.prompt_cache_breakpoint.ttl or self._inherited()

    def _inherited(self) -> str | None:
        """Return the lifetime of a breakpoint without one; None where the family has five minutes only."""
        if "1h" not in self._capabilities.cache_ttls:
            return None
        self._kept_ttl = True
        return self._options.ttl or USUAL_TTL

    def _trim(self, lists: Sequence[list[Any]]) -> None:
        """Remove the oldest cache points of too many."""
        most = max(self._capabilities.cache_points - len(self._tools), 0)
        surplus = sum(isinstance(block, CachePointContent) for blocks in lists for block in blocks) - most
        for blocks in lists:
            if surplus <= 0:
                return
            oldest = [block for block in blocks if isinstance(block, CachePointContent)][:surplus]
            self._ignore(oldest)
            removed = {id(point) for point in oldest}
            blocks[:] = [block for block in blocks if id(block) not in removed]
            surplus -= len(oldest)

    def _ignore(self, points: Sequence[CachePointContent], member: str = "") -> None:
        """Report the marks behind these cache points, or a member of the marks, as ignored."""
        self._ignored.add(*[f"{self._paths[id(point)]}{member}" for point in points if id(point) in self._paths])

    def _point(self, field: str, requested: str | None) -> CachePointContent:
        ttl = None if requested is None else _TTLS[requested]
        if ttl in self._capabilities.cache_ttls:
            if requested not in _SHORT:
                self._ignored.add(f"{field}.ttl")
            return CachePointContent(CachePointBlock(ttl=ttl))
        if ttl == "1h":
            self._ignored.add(f"{field}.ttl")
        return CachePointContent(CachePointBlock(ttl=UNSET))


def is_marked(marked: Marked) -> bool:
    """Return whether the client marked the prompt up to the end of `marked` for the cache."""
    return marked.cache_control is not None or marked.prompt_cache_breakpoint is not None


def shortened(points: Iterable[CachePointContent]) -> list[CachePointContent]:
    """Shorten the cache points of an hour after one of five minutes, and return them."""
    cut: list[CachePointContent] = []
    short = False
    for point in points:
        if point.cache_point.ttl != "1h":
            short = True
        elif short:
            point.cache_point.ttl = UNSET
            cut.append(point)
    return cut
