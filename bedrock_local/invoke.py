"""InvokeModel, for the embedding models."""

from aiohttp import web

from bedrock_local import controls, embeddings, shapes
from bedrock_local.delivery import deliver
from bedrock_local.errors import invalid
from bedrock_local.state import Incoming, Local

_ACCEPTED = ("*/*", "application/*", "application/json")


async def invoke_model(local: Local, incoming: Incoming) -> web.StreamResponse:
    """Serve an embedding request; the token counts are in headers, as Bedrock sends them."""
    incoming.require_json(default="application/json")  # the service model's default
    accept = incoming.headers.get("accept", "*/*").partition(";")[0].strip()
    if accept not in _ACCEPTED:
        raise invalid(f"The Accept type {accept} is not supported; use application/json.")
    body = shapes.read_json(incoming.body)
    model = local.shelf.resolve(incoming.identifier)
    directives = [controls.parse(text)[0] for text in embeddings.texts(model.id, body)]
    for each in directives:
        each.raise_status()
        each.raise_exception()
    made = embeddings.embed(model.id, body)
    incoming.call.billed = {"inputTokens": made.input_tokens, "outputTokens": 0}
    counts = {
        "X-Amzn-Bedrock-Input-Token-Count": str(made.input_tokens),
        "X-Amzn-Bedrock-Output-Token-Count": "0",
        "X-Amzn-Bedrock-Invocation-Latency": "1",
    }
    special = next((each for each in directives if each.damages or each.hold), controls.Controls())
    return await deliver(local, incoming, made.body, special, counts)
