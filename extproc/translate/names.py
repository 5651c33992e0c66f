"""Tool names as Bedrock takes them: 1 to 64 of `[a-zA-Z0-9_-]`.

Clients of MCP servers have longer ones, with dots and slashes. A name that fits is kept; any other is cut and escaped,
with a part of its hash at the end. The result depends on the name alone (or the prompt cache would miss), unless
another tool of the request has that name already.

Invariant: different names of one request become different names.
"""

import hashlib
import re
from collections.abc import Iterable, Set

_FITS = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MISFIT = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST = 64
_DIGITS = 8


def bedrock_name(name: str) -> str:
    """Return `name`, or one derived from it that Bedrock accepts; always the same one."""
    if _FITS.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{_MISFIT.sub('_', name)[: _LONGEST - _DIGITS - 1]}_{digest}"


def bedrock_names(names: Iterable[str]) -> dict[str, str]:
    """Return the name at Bedrock for each different name of one request."""
    client_names = tuple(names)
    mapping = {name: name for name in client_names if _FITS.fullmatch(name)}
    taken = set(mapping)
    for name in client_names:
        if name not in mapping:
            mapping[name] = free_name(bedrock_name(name), taken)
            taken.add(mapping[name])
    return mapping


def free_name(wanted: str, taken: Set[str]) -> str:
    """Return `wanted`, or one derived from it that is not `taken`: Bedrock rejects two tools of one name."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"_{number}"
        name = wanted[: _LONGEST - len(suffix)] + suffix
    return name
