"""The fields of a request that are accepted and change nothing, as the header `x-oai-ignored-params` names them."""

import re

MOST_TYPES = 20
"""Types of list members that are named, since they are the client's own words; more are one path with `*`."""

_TYPE = re.compile(r"[a-z0-9_]{1,64}")


class Ignored:
    """A collection of the ignored fields of one request, each once, in the order of their discovery.

    A field is named by its path from the request's root, with `[]` for any element of a list, as in `seed`,
    `tools[].function.strict` or `messages[].content[].image_url.detail`.
    """

    def __init__(self) -> None:
        self._paths: dict[str, None] = {}
        self._types = 0

    def add(self, *paths: str) -> None:
        """Add fields."""
        for path in paths:
            self._paths[path] = None

    def add_type(self, path: str, kind: str) -> None:
        """Add the members of the list at `path` that are left out because of their type, as in `tools[type=mcp]`."""
        name = f"{path}[type={shown_type(kind)}]"
        if name not in self._paths:
            self._types += 1
        self._paths[name if self._types <= MOST_TYPES else f"{path}[type=*]"] = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields."""
        return tuple(self._paths)


def shown_type(kind: str) -> str:
    """Return a type as it may be shown: the client can write anything, and a header cannot carry it."""
    return kind if _TYPE.fullmatch(kind) else "*"
