"""Tool names as Bedrock takes them: 1 to 64 of `[a-zA-Z0-9_-]`.

Clients of MCP servers have longer ones, with dots and slashes. A name that fits stays; any other becomes something
like it, with a piece of its hash at the end. What comes of a name depends on nothing but the name itself (or the
prompt cache would miss), except where another tool of the request has that name already.

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
    """`name`, or something like it that Bedrock takes; always alike."""
    if _FITS.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{_MISFIT.sub('_', name)[: _LONGEST - _DIGITS - 1]}_{digest}"


def bedrock_names(names: Iterable[str]) -> dict[str, str]:
    """Each of one request's different names, and what it is called at Bedrock."""
    given = tuple(names)
    found = {name: name for name in given if _FITS.fullmatch(name)}
    taken = set(found)
    for name in given:
        if name not in found:
            found[name] = free_name(bedrock_name(name), taken)
            taken.add(found[name])
    return found


def free_name(wanted: str, taken: Set[str]) -> str:
    """`wanted`, or something like it that is not `taken`: Bedrock refuses two tools of one name."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"_{number}"
        name = wanted[: _LONGEST - len(suffix)] + suffix
    return name
