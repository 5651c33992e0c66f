"""Adding a token to the text of a gateway.yaml, without touching anything else in it.

PyYAML's writer would drop comments and change the layout, so the entry is inserted into the text, at the place that the
parser reports for the last token. The result is read again and compared with what it should contain.

Invariant: the result contains every line of the text's comments and other keys, and reads as the text's document with
one more token; or `AppendError` is raised.
"""

from collections.abc import Mapping

import yaml

from extproc.config.document import ConfigError, compose, read

_WIDTH = 10_000
"""Length of a line at which PyYAML breaks it: longer than any entry."""


class AppendError(ConfigError):
    """A layout of `tokens` that no entry can be added to; the message has the remedy."""


def entry_lines(entry: Mapping[str, object], indent: int = 2) -> str:
    """Return a token's entry as lines of a block list."""
    text = yaml.safe_dump([dict(entry)], sort_keys=False, default_flow_style=None, width=_WIDTH)
    return "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())


def with_token(text: str, entry: Mapping[str, object]) -> str:
    """Return `text` with `entry` as the last of its tokens; raises `ConfigError` for a text that is not a mapping."""
    before = read(text.encode())
    tokens = before.get("tokens") or []
    if not isinstance(tokens, list):
        raise AppendError("tokens: expected a list; write `tokens: []`")
    added = _insert(text, _tokens(compose(text.encode())), entry)
    try:
        after = read(added.encode())
    except ConfigError as error:
        raise AppendError(_UNKNOWN_LAYOUT) from error
    if after != {**before, "tokens": [*tokens, dict(entry)]}:
        raise AppendError(_UNKNOWN_LAYOUT)
    return added


_UNKNOWN_LAYOUT = (
    "`tokens` has a layout that no entry can be added to; make a token without --append and add the lines it prints"
)


def _tokens(root: yaml.Node | None) -> yaml.Node | None:
    """Return the node of the value of `tokens`, None if there is no such key."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == "tokens"), None)


def _insert(text: str, tokens: yaml.Node | None, entry: Mapping[str, object]) -> str:
    if tokens is None:
        return f"{_ended(text)}tokens:\n{entry_lines(entry)}"
    if not isinstance(tokens, yaml.SequenceNode) or not tokens.value:  # nothing, or []
        start, end = tokens.start_mark.index, tokens.end_mark.index
        return _after_line(text[:start].rstrip(" ") + text[end:], len(text[:start].rstrip(" ")), entry_lines(entry))
    if tokens.flow_style:
        end = tokens.value[-1].end_mark.index
        flow = yaml.safe_dump(dict(entry), sort_keys=False, default_flow_style=True, width=_WIDTH).strip()
        return f"{text[:end]}, {flow}{text[end:]}"
    return _after_line(text, _end(tokens), entry_lines(entry, tokens.start_mark.column))


def _end(node: yaml.Node) -> int:
    """Return the index behind the last character of a block node, comments after it excluded."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.index)


def _after_line(text: str, index: int, lines: str) -> str:
    """Insert `lines` behind the line that contains `index`."""
    newline = text.find("\n", index)
    if newline < 0:
        return _ended(text) + lines
    return text[: newline + 1] + lines + text[newline + 1 :]


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
