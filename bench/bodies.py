"""A chat request of any size as a body, and what its shapes are made of."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MODEL = "anthropic.claude-sonnet-4-6"
USER = {"role": "user", "content": "Hello"}

Json = Any
"""A value that `json.dumps` takes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request; `write` makes a body with `count` of what it has many of."""

    write: Callable[[int], bytes]
    most: int | None = None
    embeddings: bool = False

    def of_size(self, size: int) -> bytes:
        """A body of about `size` bytes. It may grow faster than its count."""
        count = 64
        shorter, longer = len(self.write(count)), len(self.write(2 * count))
        while longer < size:
            count *= 2
            shorter, longer = longer, len(self.write(2 * count))
        return self.write(max(1, round((size - shorter) * count / (longer - shorter)) + count))


def chat(**fields: Json) -> bytes:
    """A chat request with these fields as a body."""
    return json.dumps({"model": MODEL, "messages": [USER], **fields}, separators=(",", ":")).encode()


def tool(name: str, **more: Json) -> Json:
    """A tool of this name."""
    return {"type": "function", "function": {"name": name, **more}}
