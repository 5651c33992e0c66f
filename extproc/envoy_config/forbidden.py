"""Runtime flags that no Envoy in front of the gateway may have, and a search for them in any Envoy configuration.

The search reads what operators have: a bootstrap, a dump of `/config_dump` or `/runtime`, an Istio or Envoy Gateway
manifest with such a document inside a string, as YAML or JSON.

Invariant: for any text, `find` returns the places of forbidden flags or raises `UnreadableError`, and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

GRACEFUL_CLOSE = "ext_proc_graceful_grpc_close"
"""Last part of `envoy.reloadable_features.ext_proc_graceful_grpc_close`, which is off by default.

With it Envoy 1.40 crashes at the end of a call of 50 s or more, unless another call began on the same thread in the
last 50 s. Envoy drops its cached gRPC client after `max_cached_entry_idle_duration`; the stream that is closed
gracefully still uses it (envoyproxy/envoy#38661 brought the flag).
"""

_OFF = (False, 0, "false", "0", None)

MAX_DEPTH = 100
"""Longest path of keys that is followed; configurations of Envoy have about 30."""


class UnreadableError(Exception):
    """A text that is no YAML or JSON that can be searched; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A forbidden flag: the path of its key, as in `layered_runtime.layers[0].static_layer`."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path}: remove this runtime flag: with it Envoy 1.40 crashes at the end of calls of 50 seconds or "
            "more, and ends all other callers' calls with them. The gateway does not need it"
        )


def find(text: str) -> list[Finding]:
    """Return every forbidden flag that is on, in order. Raises `UnreadableError`."""
    return [Finding(path) for document in documents(text) for path in _search(document, "", 0)]


def documents(text: str) -> list[object]:
    """Return the documents of a YAML or JSON text. Raises `UnreadableError`."""
    try:
        return list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(f"not YAML or JSON: {' '.join(str(error).split())[:300]}") from None


def _search(node: object, path: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise UnreadableError(f"{path[:200]}…: nested more than {MAX_DEPTH} levels deep")
    match node:
        case dict():
            for key, value in node.items():
                here = f"{path}.{key}" if path else str(key)
                if str(key).rpartition(".")[2] == GRACEFUL_CLOSE:
                    yield from () if _is_off(value) else (here,)
                else:
                    yield from _search(value, here, depth + 1)
        case list():
            for index, value in enumerate(node):
                yield from _search(value, f"{path}[{index}]", depth + 1)
        case str() if GRACEFUL_CLOSE in node:
            yield from _inside(node, path, depth)


def _is_off(value: object) -> bool:
    """Return whether a flag of this value is off; `/runtime` shows `final_value` beside the layers' values."""
    if isinstance(value, dict):
        value = value.get("final_value", True)
    return (value.lower() if isinstance(value, str) else value) in _OFF


def _inside(text: str, path: str, depth: int) -> Iterator[str]:
    """Search a document within a string; where the string is none, its mention of the flag counts."""
    try:
        inner = yaml.safe_load(text)
    except yaml.YAMLError:
        inner = None
    if isinstance(inner, dict | list):
        yield from _search(inner, path, depth + 1)
    else:
        yield path
