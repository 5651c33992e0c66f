"""Changes of the tokens in the text of a gateway.yaml or a token file, without touching anything else in it.

PyYAML's writer would drop comments and change the layout, so a change replaces or inserts characters of the text, at
the places that the parser reports. The result is read again and compared with what it should contain.

Invariant: the result has every other character of the text, and reads as the text's document with this one change; or
`EntryError` is raised. Comments on the lines of an entry that is removed go with it.

Decision: docs/decisions.md, D190.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import yaml

from extproc.config.document import ConfigError, compose, read

_WIDTH = 10_000
"""Length of a line at which PyYAML breaks it: longer than any entry."""

_Splice = tuple[int, int, str]
"""The first index that is replaced, the one behind the last, and the new text."""


class EntryError(ConfigError):
    """A layout of `tokens` that cannot be changed here; the message has the remedy."""


def entry_lines(entry: Mapping[str, object], indent: int = 2) -> str:
    """Return a token's entry as lines of a block list."""
    text = yaml.safe_dump([dict(entry)], sort_keys=False, default_flow_style=None, width=_WIDTH)
    return "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())


def with_token(text: str, entry: Mapping[str, object]) -> str:
    """Return `text` with `entry` as the last of its tokens; raises `ConfigError` for a text that is not a mapping."""
    before = read(text.encode())
    tokens = token_list(before)
    text = _ended(text)
    splices = [_appended(text, compose(text.encode()), entry)]
    return _changed(text, splices, {**before, "tokens": [*tokens, dict(entry)]})


def without_token(text: str, index: int) -> str:
    """Return `text` without the token at `index`; raises `EntryError`."""
    before = read(text.encode())
    tokens = token_list(before)
    text = _ended(text)
    splices = _removed(text, compose(text.encode()), index)
    return _changed(text, splices, {**before, "tokens": [*tokens[:index], *tokens[index + 1 :]]})


def with_successor(text: str, index: int, changes: Mapping[str, object], entry: Mapping[str, object]) -> str:
    """Return `text` with `changes` in the token at `index`, and with `entry` as the last token; raises `EntryError`."""
    before = read(text.encode())
    tokens = token_list(before)
    old = tokens[index]
    assert isinstance(old, dict)
    text = _ended(text)
    root = compose(text.encode())
    node = _items(root)[index]
    splices = [_assigned(text, node, key, value) for key, value in changes.items()]
    splices.append(_appended(text, root, entry))
    expected = [*tokens[:index], {**old, **changes}, *tokens[index + 1 :], dict(entry)]
    return _changed(text, splices, {**before, "tokens": expected})


def token_list(document: Mapping[object, object]) -> list[object]:
    """Return the list of tokens in a document; raises `EntryError`."""
    tokens = document.get("tokens") or []
    if not isinstance(tokens, list):
        raise EntryError("tokens: expected a list; write `tokens: []`")
    return tokens


_UNKNOWN_LAYOUT = (
    "`tokens` has a layout that cannot be changed here; edit the file, with the lines that `oai-extproc token create` "
    "prints without --append"
)


def _changed(text: str, splices: Sequence[_Splice], expected: Mapping[object, object]) -> str:
    """Return the text with its splices; raises `EntryError` if it does not read as `expected`."""
    in_order = sorted(splices, key=lambda splice: splice[0])
    for start, end, new in in_order[::-1]:
        text = text[:start] + new + text[end:]
    try:
        after = read(text.encode())
    except ConfigError as error:
        raise EntryError(_UNKNOWN_LAYOUT) from error
    if after != expected:
        raise EntryError(_UNKNOWN_LAYOUT)
    return text


def _tokens(root: yaml.Node | None) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the nodes of the key `tokens` and of its value, None if there is no such key."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next(((key, value) for key, value in pairs if key.value == "tokens"), None)


def _items(root: yaml.Node | None) -> list[yaml.Node]:
    """Return the nodes of the tokens; raises `EntryError`."""
    found = _tokens(root)
    if found is None or not isinstance(found[1], yaml.SequenceNode):
        raise EntryError(_UNKNOWN_LAYOUT)
    return list(found[1].value)


def _appended(text: str, root: yaml.Node | None, entry: Mapping[str, object]) -> _Splice:
    """Return the splice that adds `entry` behind the last token."""
    found = _tokens(root)
    if found is None:
        return len(text), len(text), f"tokens:\n{entry_lines(entry)}"
    _, tokens = found
    if not isinstance(tokens, yaml.SequenceNode) or not tokens.value:  # nothing, or []
        start, end = len(text[: tokens.start_mark.index].rstrip(" ")), tokens.end_mark.index
        line = _line_end(text, end)
        return start, line, text[end:line] + entry_lines(entry)
    if tokens.flow_style:
        end = tokens.value[-1].end_mark.index
        return end, end, f", {{{', '.join(f'{key}: {_flow(value)}' for key, value in entry.items())}}}"
    line = _line_end(text, _end(tokens))
    return line, line, entry_lines(entry, tokens.start_mark.column)


def _removed(text: str, root: yaml.Node | None, index: int) -> list[_Splice]:
    """Return the splices that remove a token; the last one leaves `[]`."""
    found, items = _tokens(root), _items(root)
    assert found is not None
    key, tokens = found
    assert isinstance(tokens, yaml.SequenceNode)
    item = items[index]
    start, end = item.start_mark.index, item.end_mark.index
    if tokens.flow_style:
        if len(items) == 1:
            return [(tokens.start_mark.index, tokens.end_mark.index, "[]")]
        if index + 1 < len(items):
            end = items[index + 1].start_mark.index
        else:
            start = items[index - 1].end_mark.index
        return [(start, end, "")]
    dash = text.rfind("-", 0, start)
    lines = (text.rfind("\n", 0, dash) + 1, _line_end(text, _end(item)), "")
    if len(items) > 1:
        return [lines]
    colon = text.index(":", key.end_mark.index) + 1
    return [(colon, colon, " []"), lines]


def _assigned(text: str, node: yaml.Node, key: str, value: object) -> _Splice:
    """Return the splice that gives a key of the mapping `node` a value; raises `EntryError`."""
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise EntryError(_UNKNOWN_LAYOUT)
    scalar = _flow(value)
    old = next((value for name, value in node.value if name.value == key), None)
    if old is not None:
        start, end = old.start_mark.index, old.end_mark.index
        return start, end, scalar if end > start else f" {scalar}"
    if node.flow_style:
        end = node.value[-1][1].end_mark.index
        return end, end, f", {key}: {scalar}"
    line = _line_end(text, _end(node))
    return line, line, f"{' ' * node.start_mark.column}{key}: {scalar}\n"


def _flow(value: object) -> str:
    """Return a value as it may stand inside of brackets, and outside of them too."""
    if isinstance(value, datetime):  # PyYAML would write a quoted text with a tag
        return value.isoformat()
    return yaml.safe_dump([value], sort_keys=False, default_flow_style=True, width=_WIDTH).strip()[1:-1]


def _end(node: yaml.Node) -> int:
    """Return the index behind the last character of a block node, comments after it excluded."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _line_end(text: str, index: int) -> int:
    """Return the index behind the line that contains `index`; the text ends with a newline."""
    return text.index("\n", index) + 1 if index < len(text) else len(text)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
