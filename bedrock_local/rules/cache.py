"""Cache points: the models that have them, their places, number, time to live, and the blocks before them."""

from collections.abc import Iterator
from typing import Any

from bedrock_local.conversation import Conversation
from bedrock_local.rules.words import errors, unsupported

#: Most cache points of a request.
_MOST = 4

#: Blocks after which no cache point may follow.
_NOT_AFTER = ("document", "video")


def models_that_cache(conversation: Conversation) -> Iterator[str]:
    """Only some models cache prompts, and not all of them cache tools."""
    for place, path, _, _ in _points(conversation):
        if not conversation.family.cache:
            yield "This model doesn't support the cachePoint field. Remove cachePoint and try again."
        elif place not in conversation.family.cache:
            yield unsupported("cachePoint", path)


def number_of_points(conversation: Conversation) -> Iterator[str]:
    """A request has at most four."""
    number = len(list(_points(conversation)))
    if number > _MOST:
        yield f"A maximum of {_MOST} cachePoint blocks may be provided. Found {number}."


def lives_of_points(conversation: Conversation) -> Iterator[str]:
    """A `ttl` needs a model that has it; longer ones come before shorter ones (tools, system, messages)."""
    short = False
    for _, path, point, _ in _points(conversation):
        life = point.get("ttl")
        if life is not None and life not in conversation.family.cache_ttls:
            yield unsupported("ttl", f"{path}.cachePoint")
        if life == "1h" and short:
            yield errors(f"{path}: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
        short = short or life != "1h"


def places_of_points(conversation: Conversation) -> Iterator[str]:
    """There must be something to cache before a point, and that must be neither a document nor a video."""
    for _, path, _, before in _points(conversation):
        if before is None:
            yield f"The cachePoint block at {path} has nothing before it that could be cached."
        elif before in _NOT_AFTER:
            yield errors(f"{path}: a cache point cannot be inserted after a {before} block.")


def _points(conversation: Conversation) -> Iterator[tuple[str, str, dict[str, Any], str | None]]:
    """Yield every cache point in the order of the prompt: place, path, value, and the kind of the block before it."""
    tools = conversation.request.get("toolConfig", {}).get("tools", [])
    yield from _in(tools, "tools", "toolConfig.tools")
    yield from _in(conversation.request.get("system", []), "system", "system")
    for number, message in enumerate(conversation.messages):
        yield from _in(message["content"], "messages", f"messages.{number}.content")


def _in(blocks: list[dict[str, Any]], place: str, path: str) -> Iterator[tuple[str, str, dict[str, Any], str | None]]:
    before: str | None = None
    for index, block in enumerate(blocks):
        kind, value = next(iter(block.items()))
        if kind == "cachePoint":
            yield place, f"{path}.{index}", value, before
        before = kind


RULES = (models_that_cache, number_of_points, lives_of_points, places_of_points)
