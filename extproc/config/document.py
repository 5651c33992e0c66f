"""YAML, strictly: one mapping, no key twice.

Invariant: whatever bytes are given, `read` gives a mapping or raises `ConfigError`, and never anything else.
"""

import datetime
from collections.abc import Mapping

import yaml
from yaml.constructor import ConstructorError

from extproc.config.faults import printable, spoken


class ConfigError(Exception):
    """gateway.yaml cannot be used; the message names the file, the key's path and the remedy.

    The message is one line that a terminal can show: it may quote the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; a date without a time of day is the start of that day in UTC."""

    def construct_time(self, node: yaml.ScalarNode) -> datetime.datetime:
        """A timestamp, with a zone unless it has a time of day and no zone of its own."""
        try:
            value = self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise ConstructorError(None, None, f"no such time: {error}", node.start_mark) from error
        if isinstance(value, datetime.datetime):
            return value
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_time)

_CONSTRUCTOR_BUGS = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""What PyYAML's own constructors let through, for `!!bool maybe` and the like."""


def read(text: bytes) -> Mapping[object, object]:
    """The one mapping in `text`; raises `ConfigError` without the file's name."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError("is empty; write `{}` to run without organisations and tokens")
        _refuse_duplicates(node)
        document = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error)) from error
    except RecursionError as error:
        raise ConfigError("is nested too deeply") from error
    except _CONSTRUCTOR_BUGS as error:
        raise ConfigError(f"holds a value that YAML cannot read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"must be a mapping of keys such as `organisations:` and `tokens:`, not {spoken(document)}")
    return document


def _refuse_duplicates(root: yaml.Node) -> None:
    """Raise for a key that stands twice in one mapping, before merge keys (`<<`) are resolved."""
    nodes: list[yaml.Node] = [root]
    seen: set[int] = set()
    for node in nodes:  # grows underway; an alias is one node that stands in several places
        children = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [value for _, value in node.value]
        nodes += [child for child in children if id(child) not in seen]
        seen.update(map(id, children))


def _check_keys(node: yaml.MappingNode) -> None:
    """Raise if two keys of this mapping are the same."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(f"line {line}: the key `{key.value}` stands in line {lines[name]} already; keep one")
        lines[name] = line


def _explain_yaml(error: yaml.YAMLError) -> str:
    """PyYAML's complaint in one line, with the remedy where there is one."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"is not YAML: {' '.join(str(error).split())}"
    problem = error.problem or error.context or "not YAML"
    if "another document" in problem:
        problem = "a second document starts here; keep everything in one"
    elif "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
