"""Paths and methods -> what is asked for, or a 404 or 405 that says what there is."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from extproc.openai.errors import ApiError

PREFIX = "/oai/v1"

Operation = Literal["chat", "embeddings", "models", "model"]

_EXACT: dict[str, tuple[str, Operation]] = {
    "/chat/completions": ("POST", "chat"),
    "/embeddings": ("POST", "embeddings"),
    "/models": ("GET", "models"),
}
_SERVED = (
    f"POST {PREFIX}/chat/completions, POST {PREFIX}/embeddings, GET {PREFIX}/models, GET {PREFIX}/models/{{model}}"
)


@dataclass(frozen=True, slots=True)
class Route:
    """What is asked for; `model` is the id in a `GET /models/{model}`."""

    operation: Operation
    model: str = ""


def route(method: str, path: str) -> Route:
    """The route of a request. `path` may have a query, which is not looked at. Raises `ApiError` 404 or 405."""
    path = path.partition("?")[0]
    below = path.removeprefix(PREFIX).rstrip("/") if path.startswith(PREFIX + "/") else ""
    if below in _EXACT:
        allowed, operation = _EXACT[below]
        return _allow(method, allowed, path, Route(operation))
    model = below.removeprefix("/models/")
    if model and model != below:
        # SDKs send `:` as it is and `/` as %2F, other clients send an ARN's slash bare: unquote once, take all.
        return _allow(method, "GET", path, Route("model", unquote(model)))
    raise ApiError(
        404,
        f"There is no {method} {path} here. This gateway serves {_SERVED}; OpenAI's other endpoints "
        "(images, audio, moderations, assistants, responses, batches, files) it does not.",
        code="unknown_url",
    )


def _allow(method: str, allowed: str, path: str, found: Route) -> Route:
    if method == allowed:
        return found
    raise ApiError(405, f"{path} takes {allowed}, not {method}.", code="method_not_allowed", headers={"allow": allowed})
