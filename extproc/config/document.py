"""A strict reader of YAML: one mapping, no repeated keys.

Invariant: for any bytes, `read` returns a mapping or raises `ConfigError`, never another exception, in linear time.

Decisions: docs/decisions.md, D93, D157, D192.
"""

import contextlib
import datetime
import gc
import re
from collections.abc import Iterator, Mapping

import yaml
from yaml._yaml import CParser
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.resolver import Resolver

from extproc.config import events
from extproc.config.faults import described, printable
from extproc.config.regular_tokens import read_regular_tokens

MAX_REPEATED = 1_000_000
"""Largest number of values that aliases and merge keys may add to those in the file."""


class ConfigError(Exception):
    """gateway.yaml cannot be used; the message names the file, the key's path and the remedy.

    The message is one line that a terminal can show: it may quote the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class _Loader(Composer, CParser, SafeConstructor, Resolver):
    """PyYAML's safe loader. A date without a time of day is the start of that day in UTC.

    The parser is libyaml's, ten times as fast as Python's. The composer is Python's: libyaml's ends the process where
    a document is nested too deeply.
    """

    def __init__(self, text: bytes) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)

    def construct_time(self, node: yaml.ScalarNode) -> datetime.datetime:
        """Construct a timestamp. It has a zone, unless the file has a time of day without one."""
        try:
            value = self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise ConstructorError(None, None, f"no such time: {error}", node.start_mark) from error
        if isinstance(value, datetime.datetime):
            return value
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)

    yaml_constructors = {  # noqa: RUF012 - PyYAML's way
        **SafeConstructor.yaml_constructors,
        "tag:yaml.org,2002:timestamp": construct_time,
    }


_CONSTRUCTOR_BUGS = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""Exceptions that PyYAML's own constructors raise for values such as `!!bool maybe`."""


def read(text: bytes) -> Mapping[object, object]:
    """Read the mapping in `text`; raises `ConfigError`, without the file's name."""
    with _without_collector():
        regular = read_regular_tokens(text)
    return read_yaml(text) if regular is None else regular


def read_yaml(text: bytes) -> Mapping[object, object]:
    """Read the mapping in `text` by YAML's parser; raises `ConfigError`."""
    try:
        with _without_collector():
            document = _constructed(text)
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error, text)) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply") from error
    except _CONSTRUCTOR_BUGS as error:
        raise ConfigError(f"holds a value that YAML cannot read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(
            f"must be a mapping of keys such as `organisations:` and `tokens:`, not {described(document)}"
        )
    return document


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python's cycle collector off.

    A worker reads in a thread; the collector's rounds over a million nodes would hold its event loop for a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def compose(text: bytes) -> yaml.Node | None:
    """Return the nodes of the document in `text`, which `read` accepts, with their places in the text."""
    return _Loader(text).get_single_node()


def _constructed(text: bytes) -> object:
    """Return the one document in `text`; raises what PyYAML does, and `ConfigError`."""
    try:
        document = events.construct(_Loader(text))
    except events.UncommonError:
        return _construct(text)
    except events.RepeatedKeyError as error:
        raise _repeated(error.key, error.line, error.earlier) from None
    if document is events.NOTHING:
        raise _empty()
    return document


def _empty() -> ConfigError:
    return ConfigError("is empty; write `{}` to run without organisations and tokens")


def _repeated(key: str, line: int, earlier: int) -> ConfigError:
    return ConfigError(f"line {line}: the key `{key}` is in line {earlier} already; keep one")


def _construct(text: bytes) -> object:
    """Return the one document in `text` by its nodes, which are free afterwards; raises as `_constructed`."""
    loader = _Loader(text)
    node = loader.get_single_node()
    if node is None:
        raise _empty()
    if _reject_duplicates(node):
        _reject_multiplication(node)
    return loader.construct_document(node)


def _reject_duplicates(root: yaml.Node) -> bool:
    """Raise for a repeated key of a mapping, before merge keys (`<<`) are resolved.

    Return whether there are aliases.
    """
    nodes: list[yaml.Node] = [root]
    seen = {id(root)}
    aliases = False
    for node in nodes:  # grows underway; an alias is one node that stands in several places
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        for child in _children(node):
            if id(child) not in seen:
                seen.add(id(child))
                nodes.append(child)
            elif not isinstance(child, yaml.ScalarNode):
                aliases = True
    return aliases


def _reject_multiplication(root: yaml.Node) -> None:
    """Raise where aliases and merge keys stand for more than `MAX_REPEATED` values ("billion laughs")."""
    sizes: dict[int, int] = {}
    """Number of values in each node, those of aliases included; 0 while a node is not finished."""
    pending = [root]
    while pending:
        node = pending[-1]
        if sizes.get(id(node)):
            pending.pop()
        elif id(node) not in sizes:
            sizes[id(node)] = 0
            pending += [child for child in _children(node) if id(child) not in sizes]
        else:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            pending.pop()
    if sizes[id(root)] > len(sizes) + MAX_REPEATED:
        raise ConfigError(f"aliases and merge keys add more than {MAX_REPEATED} values; use fewer of them")


def _children(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes in a list or a mapping, keys included."""
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_keys(node: yaml.MappingNode) -> None:
    """Raise if two keys of this mapping are the same."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise _repeated(key.value, line, lines[name])
        lines[name] = line


def _explain_yaml(error: yaml.YAMLError, text: bytes) -> str:
    """Return PyYAML's error in one line, with a remedy if there is one."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"is not YAML: {' '.join(str(error).split())}"
    problem, mark = error.problem or error.context or "not YAML", error.problem_mark
    if "another document" in problem:
        problem = "a second document starts here; keep everything in one"
    elif "cannot start any token" in problem and _starts_with_tab(text, mark.line):
        problem = "a tab; YAML is indented with spaces"
    elif pattern := _bare_pattern(text, mark.line):
        problem = f'{problem}; a pattern that begins with `*` has to be in quotes: "{pattern}"'
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


_PATTERN = re.compile(r"(?:^|[\s,\[:])(\*[^\s,\[\]{}\"'#]*)")


def _bare_pattern(text: bytes, line: int) -> str:
    """Return a pattern without quotes in this line, which YAML reads as an alias; empty if there is none."""
    lines = text.splitlines()
    match = _PATTERN.search(lines[line].decode(errors="replace")) if line < len(lines) else None
    return match[1] if match else ""


def _starts_with_tab(text: bytes, line: int) -> bool:
    """Return whether the indentation of this line, counted from 0, has a tab."""
    lines = text.splitlines()
    return line < len(lines) and lines[line].lstrip(b" ").startswith(b"\t")


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the file's name before the message of a `ConfigError`."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error.__cause__
