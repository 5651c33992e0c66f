"""Readers of what an exchange returns."""

import json
from collections.abc import Sequence
from typing import Any

from extproc.exchange.directives import Directive


def only(directives: Sequence[Directive]) -> Any:
    [directive] = directives
    return directive


def error(directive: Any) -> dict[str, Any]:
    """Return the error object in a `Reply`, whose form is checked."""
    body = json.loads(directive.body)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert dict(directive.headers)["content-type"] == "application/json"
    assert dict(directive.headers)["x-request-id"]
    return dict(body["error"])
