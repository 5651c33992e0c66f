"""Paths and methods -> routes, or a 404 or 405 that names the alternatives."""

from dataclasses import dataclass
from urllib.parse import unquote

from extproc.exchange.chat_endpoint import CHAT
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.endpoint import ApiEndpoint
from extproc.openai.errors import ApiError
from extproc.shared_names import API_PATH

ENDPOINTS: dict[str, ApiEndpoint] = {endpoint.path: endpoint for endpoint in (CHAT, EMBEDDINGS)}
"""The endpoints that call Bedrock, by path. A new one is one more name in this line."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """`GET /models`."""

    operation: str = "models"


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """`GET /models/{model}`."""

    model: str
    operation: str = "model"


Route = ApiEndpoint | ModelList | ModelDetails


def route(method: str, path: str) -> Route:
    """Return the route of a request. A query in `path` is ignored. Raises `ApiError` 404 or 405."""
    path = path.partition("?")[0]
    below = path.removeprefix(API_PATH).rstrip("/") if path.startswith(API_PATH + "/") else ""
    endpoint = ENDPOINTS.get(below)
    if endpoint is not None:
        return _allow(method, endpoint.method, path, endpoint)
    if below == "/models":
        return _allow(method, "GET", path, ModelList())
    model = below.removeprefix("/models/")
    if model and model != below:
        # SDKs send `:` unescaped and `/` as %2F, other clients send an ARN's slash bare: unquote once, and accept all.
        return _allow(method, "GET", path, ModelDetails(unquote(model)))
    raise ApiError(
        404,
        f"There is no {method} {path} here. This gateway serves {_served()}, and none of OpenAI's other endpoints "
        "(images, audio, moderations, assistants, responses, batches, files).",
        code="unknown_url",
    )


def _allow(method: str, allowed: str, path: str, requested: Route) -> Route:
    if method == allowed:
        return requested
    raise ApiError(405, f"{path} takes {allowed}, not {method}.", code="method_not_allowed", headers={"allow": allowed})


def _served() -> str:
    calls = [f"{endpoint.method} {API_PATH}{endpoint.path}" for endpoint in ENDPOINTS.values()]
    return ", ".join([*calls, f"GET {API_PATH}/models", f"GET {API_PATH}/models/{{model}}"])
