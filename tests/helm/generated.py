"""Writes what the chart has of other files: `python -m tests.helm.generated`, which is a part of `make docs`.

The README's table comes from values.yaml and its comments; what values.schema.json has of gateway.yaml comes from the
types of `extproc.config`.

Decision: docs/decisions.md, D106.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from extproc.config import Settings
from tests.deploy.conftest import ROOT

CHART = ROOT / "deploy" / "helm" / "oai-extproc"
README, SCHEMA = CHART / "README.md", CHART / "values.schema.json"
BEGIN, END = "<!-- values -->\n", "<!-- end of values -->\n"

ELSEWHERE = ("region", "tokens", "tokens_from", "workers")
"""Keys of gateway.yaml that are values by themselves, or the chart's."""

WORDS = ("title", "description", "default")
"""Keys of a schema beside its rules."""

WIDTH = 110


# The README


def rows() -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of each value; a comment belongs to the key below it."""
    path: list[str] = []
    comment: list[str] = []
    text = (CHART / "values.yaml").read_text()
    for line in text.splitlines():
        match = re.match(r"( *)(\w+):(.*)", line)
        if match is not None:
            path = [*path[: len(match[1]) // 2], match[2]]
            if match[3] or comment:
                default = _default(yaml.safe_load(text), path) if match[3] else ""
                yield ".".join(path), default, " ".join(comment)
        comment = [*comment, line.strip(" #")] if line.lstrip().startswith("#") else []


def _default(values: Any, path: list[str]) -> str:
    for key in path:
        values = values[key]
    return f"`{json.dumps(values, ensure_ascii=False)}`"


def readme(text: str) -> str:
    """The README with the table as it has to be."""
    before, _, rest = text.partition(BEGIN)
    table = "".join(f"| `{key}` | {value} | {meaning} |\n" for key, value, meaning in rows())
    return f"{before}{BEGIN}\n| key | default | meaning |\n|---|---|---|\n{table}\n{END}{rest.partition(END)[2]}"


# The schema


def schema(text: str) -> str:
    """values.schema.json with gateway.yaml's part as it has to be."""
    document = json.loads(text)
    definitions = msgspec.json.schema(Settings)["$defs"]
    for key in ELSEWHERE:
        del definitions["Settings"]["properties"][key]
    del definitions["Token"]
    by_hand = {name: each for name, each in document["$defs"].items() if name[0].islower()}
    document["$defs"] = by_hand | {name: _rules(each) for name, each in sorted(definitions.items())}
    return _pretty(document) + "\n"


def _rules(value: Any) -> Any:
    """A schema without words, and with patterns that Go's regular expressions have."""
    if isinstance(value, list):
        return [_rules(each) for each in value]
    if not isinstance(value, dict):
        return value
    new = {
        key: {name: _rules(each) for name, each in item.items()} if key == "properties" else _rules(item)
        for key, item in value.items()
        if key not in WORDS and item != []
    }
    if "pattern" in new:
        new["pattern"] = new["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
        longest = re.search(r"\{1,(\d{4,})\}\$$", new["pattern"])
        if longest is not None:  # Go counts to 1000
            new |= {"pattern": f"{new['pattern'][: longest.start()]}+$", "maxLength": int(longest[1])}
    return new


def _pretty(value: Any, indent: int = 0) -> str:
    """JSON in which what is short is one line."""
    line = json.dumps(value)
    if not isinstance(value, dict | list) or len(line) + indent <= WIDTH:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, list):
        inner, brackets = [pad + _pretty(each, indent + 2) for each in value], "[]"
    else:
        inner = [f"{pad}{json.dumps(key)}: {_pretty(each, indent + 2)}" for key, each in value.items()]
        brackets = "{}"
    return brackets[0] + "\n" + ",\n".join(inner) + "\n" + " " * indent + brackets[1]


if __name__ == "__main__":
    README.write_text(readme(README.read_text()))
    SCHEMA.write_text(schema(SCHEMA.read_text()))
