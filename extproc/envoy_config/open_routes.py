"""A search for routes that lead to Bedrock for every request, in any Envoy configuration.

Where such a route is and the filter is missing, callers' tokens and untranslated bodies go to AWS. The search reads a
bootstrap, or a dump of `/config_dump`, as YAML or JSON.

Invariant: for any text, `find_open` returns the places of open routes or raises `UnreadableError`, and nothing else.
"""

from collections.abc import Iterator
from typing import Any

from extproc.envoy_config import BEDROCK
from extproc.envoy_config.forbidden import MAX_DEPTH, UnreadableError, documents
from extproc.shared_names import MARK_HEADER, METADATA_NAMESPACE, SIGNED

_HOST = "bedrock-runtime"
"""Part of every host name of Bedrock's runtime, private endpoints' included."""


def find_open(text: str) -> list[str]:
    """Return the paths of all routes to Bedrock that do not ask for a worker's mark. Raises `UnreadableError`."""
    parsed = documents(text)
    objects = [item for document in parsed for item in _objects(document, "", 0)]
    names = {str(item["name"]) for _, item in objects if _is_bedrock(item)}
    trusted = not any(_forwards_header(item) for _, item in objects)
    return [path for path, item in objects if _clusters(item) & names and not _is_closed(item["match"], trusted)]


def _objects(node: object, path: str, depth: int) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Return each mapping of a document and its path."""
    if depth > MAX_DEPTH:
        raise UnreadableError(f"{path[:200]}…: nested more than {MAX_DEPTH} levels deep")
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from _objects(value, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _objects(value, f"{path}[{index}]", depth + 1)


def _is_bedrock(item: dict[Any, Any]) -> bool:
    """Return whether this is a cluster of Bedrock's: by its endpoints, or by the name that ours has."""
    if "name" not in item or "load_assignment" not in item:
        return False
    hosts = [socket["address"] for _, socket in _objects(item["load_assignment"], "", 0) if "port_value" in socket]
    return _is_ours(str(item["name"])) or any(_HOST in str(host) for host in hosts)


def _is_ours(name: str) -> bool:
    """Return whether a cluster of this name is one of those that are rendered: `bedrock`, or a region's."""
    return name == BEDROCK or name.startswith(f"{BEDROCK}-")


def _clusters(item: dict[Any, Any]) -> set[str]:
    """Return the clusters that a route leads to; none, where it is no route."""
    action = item.get("route")
    if not isinstance(action, dict) or not isinstance(item.get("match"), dict):
        return set()
    weighted = action.get("weighted_clusters")
    several = weighted.get("clusters") if isinstance(weighted, dict) else None
    each = [part.get("name") for part in several if isinstance(part, dict)] if isinstance(several, list) else []
    return {str(name) for name in (action.get("cluster"), *each) if name is not None}


def _is_closed(match: dict[Any, Any], trusted: bool) -> bool:
    """Return whether only what a worker has signed matches; by the header only if it is `trusted`."""
    by_metadata = any(_is_mark(matcher) for matcher in _list(match.get("dynamic_metadata")))
    return by_metadata or (trusted and any(_is_header(matcher) for matcher in _list(match.get("headers"))))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_mark(matcher: object) -> bool:
    return (
        isinstance(matcher, dict)
        and matcher.get("filter") == METADATA_NAMESPACE
        and matcher.get("path") == [{"key": SIGNED}]
        and _is_value(matcher.get("value"))
        and not matcher.get("invert")
    )


def _is_value(value: object) -> bool:
    """Return whether this is the mark's value: true, or the region that the request was signed for."""
    if value == {"bool_match": True}:
        return True
    text = value.get("string_match") if isinstance(value, dict) and len(value) == 1 else None
    return _is_exact(text)


def _is_exact(match: object) -> bool:
    """Return whether this matches one text, which is not empty."""
    return isinstance(match, dict) and match.keys() == {"exact"} and bool(match["exact"])


def _is_header(matcher: object) -> bool:
    """Return whether this is the mark as a header, which Envoy takes from callers unless it forwards it."""
    return (
        isinstance(matcher, dict)
        and matcher.get("name") == MARK_HEADER
        and _is_exact(matcher.get("string_match"))
        and not matcher.get("invert_match")
        and not matcher.get("treat_missing_header_as_empty")
    )


def _forwards_header(item: dict[Any, Any]) -> bool:
    return str(item.get("forward_client_cert_details")) in ("FORWARD_ONLY", "ALWAYS_FORWARD_ONLY", "1", "4")
