"""InvokeModel, which here serves the embedding models."""

from aiohttp import web

from bedrock_local import controls, embeddings, shapes
from bedrock_local.errors import invalid
from bedrock_local.state import Incoming, Local, reply

_ACCEPTED = ("*/*", "application/*", "application/json")


async def invoke_model(local: Local, incoming: Incoming) -> web.StreamResponse:
    """Answer an embedding request; the counts are in headers, as Bedrock has them."""
    incoming.require_json(default="application/json")  # as the service model says
    accept = incoming.headers.get("accept", "*/*").partition(";")[0].strip()
    if accept not in _ACCEPTED:
        raise invalid(f"The Accept type {accept} is not supported; use application/json.")
    body = shapes.read_json(incoming.body)
    model = local.shelf.resolve(incoming.identifier)
    hold = False
    for text in embeddings.texts(model.id, body):
        ordered, _ = controls.parse(text)
        ordered.refuse()
        hold = hold or ordered.hold
    if hold:
        await local.holds.wait()
    made = embeddings.embed(model.id, body)
    counts = {
        "X-Amzn-Bedrock-Input-Token-Count": str(made.input_tokens),
        "X-Amzn-Bedrock-Output-Token-Count": "0",
        "X-Amzn-Bedrock-Invocation-Latency": "1",
    }
    return reply(incoming.call.id, made.body, counts)
