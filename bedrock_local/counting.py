"""CountTokens, for a Converse request."""

from aiohttp import web

from bedrock_local import controls, rules, shapes, tokens
from bedrock_local.conversation import Conversation
from bedrock_local.errors import invalid
from bedrock_local.models import unsupported_action
from bedrock_local.state import Incoming, Local, reply


async def count_tokens(local: Local, incoming: Incoming) -> web.StreamResponse:
    """Respond with the number of tokens that the conversation would be charged for."""
    incoming.require_json()
    request = shapes.check("CountTokens", shapes.read_json(incoming.body), modelId=incoming.identifier)
    model = local.shelf.foundation(incoming.identifier)
    if model.family is None or not model.family.converse:
        raise unsupported_action()
    if "converse" not in request["input"]:
        raise invalid("bedrock_local counts the tokens of a Converse request only.")
    if not model.family.counts_tokens:
        raise invalid("The provided model doesn't support counting tokens.")
    conversation = Conversation(request["input"]["converse"], model, model.family, streaming=False)
    rules.check(conversation)
    controls.parse(conversation.last_text())[0].raise_status()
    return reply(incoming.call.id, {"inputTokens": tokens.input_tokens(conversation)})
