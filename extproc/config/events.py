"""Constructs a YAML document from the parser's events, without a node of each value.

PyYAML makes a node of each value first, with its places in the text: most of the time and of the memory. Here a value
becomes what it is at once. What is rare in a gateway.yaml is left to PyYAML: anchors, tags, merge keys, keys that are
no scalars, and deep nesting.

Invariant: `construct` returns what PyYAML constructs, or raises what PyYAML raises, or `RepeatedKeyError`, or
`UncommonError`.

Decision: docs/decisions.md, D157.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import ComposerError

MAX_DEPTH = 64
"""Nesting above which a document is uncommon."""

_CACHED = 4096
"""Number of plain scalars whose tags are kept: keys and names of organisations recur."""

_TEXT = "tag:yaml.org,2002:str"
_UNCOMMON_TAGS = frozenset({"tag:yaml.org,2002:merge", "tag:yaml.org,2002:value"})


NOTHING = object()
"""The document of a stream that has none."""


class UncommonError(Exception):
    """A document with something that is left to PyYAML."""


class RepeatedKeyError(Exception):
    """A key that stands twice in one mapping; lines count from 1."""

    def __init__(self, key: str, line: int, earlier: int) -> None:
        super().__init__(key)
        self.key, self.line, self.earlier = key, line, earlier


@dataclass(slots=True)
class _Mapping:
    """A mapping that is not finished; `key` waits for its value."""

    values: dict[object, object] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    key: tuple[object] | None = None


def construct(loader: Any) -> object:
    """Return the one document of `loader`, PyYAML's parser, resolver and constructor; `NOTHING` if there is none."""
    loader.get_event()  # the start of the stream
    if loader.check_event(yaml.StreamEndEvent):
        return NOTHING
    loader.get_event()  # the start of the document
    builder, first = _Builder(loader), loader.peek_event()
    while not builder.done:
        event = loader.get_event()
        builder.handlers.get(type(event), _give_up)(event)
    loader.get_event()  # the end of the document
    if not loader.check_event(yaml.StreamEndEvent):
        found = loader.peek_event().start_mark
        context = "expected a single document in the stream"
        raise ComposerError(context, first.start_mark, "but found another document", found)
    return builder.document


def _give_up(_: Any) -> None:
    """Handle an alias."""
    raise UncommonError


class _Builder:
    """The values that are not finished, from the outermost to the innermost, and a handler of each kind of event."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._open: list[list[object] | _Mapping] = []
        self._tags: dict[str, str] = {}
        self.document: object = None
        self.done = False
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._start_mapping,
            yaml.SequenceStartEvent: self._start_list,
            yaml.MappingEndEvent: self._end_mapping,
            yaml.SequenceEndEvent: self._end_list,
        }

    def _scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            raise UncommonError
        text: str = event.value
        tag = self._tag(text) if event.implicit[0] else _TEXT
        value = text if tag == _TEXT else self._constructed(tag, event)
        inner = self._open[-1] if self._open else None
        if isinstance(inner, _Mapping) and inner.key is None:
            _start_value(inner, (tag, text), value, event)
        else:
            self._put(value)

    def _tag(self, text: str) -> str:
        """Return the tag of a plain scalar."""
        tag = self._tags.get(text)
        if tag is None:
            tag = str(self._loader.resolve(yaml.ScalarNode, text, (True, False)))
            if len(self._tags) < _CACHED:
                self._tags[text] = tag
        return tag

    def _constructed(self, tag: str, event: Any) -> object:
        constructor = self._loader.yaml_constructors.get(tag)
        if constructor is None or tag in _UNCOMMON_TAGS:
            raise UncommonError
        return constructor(self._loader, yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))

    def _start_mapping(self, event: Any) -> None:
        self._start(event, _Mapping())

    def _start_list(self, event: Any) -> None:
        self._start(event, [])

    def _start(self, event: Any, value: list[object] | _Mapping) -> None:
        inner = self._open[-1] if self._open else None
        is_key = isinstance(inner, _Mapping) and inner.key is None
        if event.anchor is not None or event.tag is not None or is_key or len(self._open) >= MAX_DEPTH:
            raise UncommonError
        self._open.append(value)

    def _end_mapping(self, _: Any) -> None:
        ended = self._open.pop()
        assert isinstance(ended, _Mapping)
        self._put(ended.values)

    def _end_list(self, _: Any) -> None:
        self._put(self._open.pop())

    def _put(self, value: object) -> None:
        """Put a finished value into the one around it."""
        if not self._open:
            self.document, self.done = value, True
            return
        inner = self._open[-1]
        if isinstance(inner, _Mapping):
            assert inner.key is not None
            inner.values[inner.key[0]], inner.key = value, None
        else:
            inner.append(value)


def _start_value(mapping: _Mapping, name: tuple[str, str], key: object, event: Any) -> None:
    """Note a key, whose value is next. Raises `RepeatedKeyError`."""
    line = event.start_mark.line + 1
    if name in mapping.lines:
        raise RepeatedKeyError(name[1], line, mapping.lines[name])
    mapping.lines[name], mapping.key = line, (key,)
