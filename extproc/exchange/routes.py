"""Paths and methods -> routes, or a 404 or 405 that names the alternatives."""

from dataclasses import dataclass
from urllib.parse import unquote

from extproc.bedrock.model_ids import MAX_LENGTH
from extproc.exchange.chat_endpoint import CHAT
from extproc.exchange.embeddings_endpoint import EMBEDDINGS
from extproc.exchange.endpoint import ApiEndpoint
from extproc.exchange.responses_endpoint import INPUT_TOKENS, RESPONSES
from extproc.openai.errors import ApiError
from extproc.openai.usage_query import RESOURCES, Resource
from extproc.shared_names import API_PATH

_REGISTERED = (CHAT, EMBEDDINGS, RESPONSES, INPUT_TOKENS)
"""The endpoints that call Bedrock. A new one is one more name in this line."""

_LONGEST_MODEL = 3 * MAX_LENGTH
"""Characters of the longest model's id, each of them escaped."""

_ADMINISTRATION = "/organization/"

ENDPOINTS: dict[str, ApiEndpoint] = {endpoint.path: endpoint for endpoint in _REGISTERED}


@dataclass(frozen=True, slots=True)
class ModelList:
    """`GET /models`."""

    operation: str = "models"
    scope: str = "models"


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """`GET /models/{model}`."""

    model: str
    operation: str = "model"
    scope: str = "models"


@dataclass(frozen=True, slots=True)
class UsageRoute:
    """`GET /organization/costs`, or one of `/organization/usage/…`; `query` is what follows the `?`."""

    resource: Resource
    query: str
    operation: str = "usage"
    scope: str = "usage"


BedrockRoute = ApiEndpoint | ModelList | ModelDetails
"""The routes that need Bedrock, or what it lists."""

Route = BedrockRoute | UsageRoute


def route(method: str, path: str) -> Route:
    """Return the route of a request; only that of usage has a query. Raises `ApiError` 404 or 405."""
    path, _, query = path.partition("?")
    below = path.removeprefix(API_PATH).rstrip("/") if path.startswith(API_PATH + "/") else ""
    endpoint = ENDPOINTS.get(below)
    if endpoint is not None and (method == endpoint.method or not endpoint.switch):
        return _allow(method, endpoint.method, path, endpoint)
    if below == "/models":
        return _allow(method, "GET", path, ModelList())
    if below.startswith(_ADMINISTRATION) and below in RESOURCES:
        return _allow(method, "GET", path, UsageRoute(RESOURCES[below], query))
    model = below.removeprefix("/models/")
    if model and model != below:
        # SDKs send `:` unescaped and `/` as %2F, other clients send an ARN's slash bare: unquote once, and accept all.
        # What is longer names no model, and is not worth the time before a token is checked.
        model = unquote(model) if len(model) <= _LONGEST_MODEL else model
        return _allow(method, "GET", path, ModelDetails(model))
    raise not_here(method, path)


def not_here(method: str, path: str, switch: str = "") -> ApiError:
    """Return the 404 of a path without a route; `switch` is the key of an endpoint that is not switched on."""
    path = path.partition("?")[0]
    others = "images, audio, moderations, assistants, batches, files"
    advice = ""
    if switch:
        advice = f" An operator can switch this one on (`endpoints.{switch}: true`)."
    elif f"{path}/".startswith(f"{API_PATH}{RESPONSES.path}/"):
        advice = (
            f" Responses are not stored: POST {API_PATH}{RESPONSES.path}, where an operator has switched it on, takes "
            "the whole conversation."
        )
    elif path.startswith(f"{API_PATH}{_ADMINISTRATION}"):
        usage = ", ".join([f"GET {API_PATH}{resource}" for resource in RESOURCES])
        advice = f" Of OpenAI's administration it has {usage}, where an operator has switched them on (`usage.sqlite`)."
    return ApiError(
        404,
        f"There is no {method} {path} here. This gateway serves {_served()}, and none of OpenAI's "
        f"other endpoints ({others}).{advice}",
        code="unknown_url",
    )


def _allow(method: str, allowed: str, path: str, requested: Route) -> Route:
    if method == allowed:
        return requested
    raise ApiError(405, f"{path} takes {allowed}, not {method}.", code="method_not_allowed", headers={"allow": allowed})


def _served() -> str:
    usual = [endpoint for endpoint in ENDPOINTS.values() if not endpoint.switch]
    calls = [f"{endpoint.method} {API_PATH}{endpoint.path}" for endpoint in usual]
    return ", ".join([*calls, f"GET {API_PATH}/models", f"GET {API_PATH}/models/{{model}}"])
