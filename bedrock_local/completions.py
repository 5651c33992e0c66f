"""The content of a response: deterministic, made from the request, and cut as AWS cuts it.

`_draft` chooses it, in this order: nothing if a directive orders that, reasoning, the call that a directive orders, a
tool that must be called, the tools that the text names, JSON for a schema, the quoted results of tools, a count, an
echo; the last three are wrapped in a JSON object if the instructions ask for one. The content is then cut at the first
stop sequence or at the token limit, whichever comes first.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bedrock_local import json_schema, reasoning, tokens
from bedrock_local.controls import Controls
from bedrock_local.conversation import Block, Conversation
from bedrock_local.errors import invalid
from bedrock_local.named_keys import schema_of, schema_of_keys
from bedrock_local.reasoning import Reasoning, Redacted
from bedrock_local.synthesis import SchemaError, synthesise
from bedrock_local.words import mentioned

#: Longest part of the user's text that is echoed, and of the system prompt, in characters.
_ECHO, _SYSTEM_ECHO = 4000, 60

#: Tokens that a redacted reasoning block counts.
_REDACTED_COST = 4

#: Instructions that ask for JSON, and that announce its schema.
_JSON_WANTED = re.compile(r"\bJSON object\b")
_SCHEMA_FOLLOWS = re.compile(r"\bschema:\s*(?={)", re.IGNORECASE)

_COUNT = re.compile(r"\bcount (?:up )?to (\d{1,9})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """A text block, and the address of the source that it cites, if any."""

    text: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call. `arguments` is the JSON as it streams; if it is cut short, `input` is empty, as Claude sends it."""

    id: str
    name: str
    input: dict[str, Any]
    arguments: str


@dataclass(frozen=True, slots=True)
class SystemToolUse:
    """A call that AWS itself executes, and its result: two blocks."""

    id: str
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A block with the address of the source of the text before it, and without a text of its own."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its format and its bytes."""

    format: str
    data: bytes


Part = Text | Reasoning | Redacted | ToolUse | Image | SystemToolUse | Citation

_PIXEL = Image(
    "png",
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    ),
)
#: Tokens that an image counts.
_IMAGE_COST = 16


@dataclass(frozen=True, slots=True)
class Completion:
    """A message: its blocks, the stop reason, the stop sequence that was met, and the usage as Bedrock reports it."""

    parts: tuple[Part, ...]
    stop_reason: str
    stop_sequence: str | None
    usage: dict[str, Any]

    @property
    def thinking_tokens(self) -> int:
        """Return the tokens of the reasoning, which are a part of outputTokens."""
        return sum(_cost(part) for part in self.parts if isinstance(part, Reasoning | Redacted))


def compose(conversation: Conversation, controls: Controls, text: str) -> Completion:
    """Return the completion of a valid conversation; `text` is the user's last text without its directives."""
    drafted = tuple(_draft(conversation, controls, text))
    stopped, sequence = _stop(drafted, conversation.inference.get("stopSequences", []))
    parts = _truncate(stopped, conversation.limit)
    reason = controls.stop or _stop_reason(parts, cut=parts != stopped, stopped=sequence is not None)
    return Completion(parts, reason, sequence, _usage(conversation, controls, parts))


def _stop_reason(parts: tuple[Part, ...], *, cut: bool, stopped: bool) -> str:
    if cut:
        return "max_tokens"
    if stopped:
        return "stop_sequence"
    return "tool_use" if any(isinstance(part, ToolUse) for part in parts) else "end_turn"


# --- content ---------------------------------------------------------------------------------------------------------


def _draft(conversation: Conversation, controls: Controls, text: str) -> Iterator[Part]:
    if controls.empty:
        return
    yield from reasoning.blocks(conversation, text, controls.reasoning, controls.redacted)
    yield from _thoughtful(_message(conversation, controls, text), controls.think)
    if controls.image:
        yield _PIXEL


def _thoughtful(parts: Iterator[Part], thought: str | None) -> Iterator[Part]:
    """Yield the parts, with the thought at the beginning of the first text; one is added if there is none."""
    inline = "" if thought is None else f"<thinking> {thought}</thinking>\n"
    for part in parts:
        if inline and isinstance(part, Text):
            yield replace(part, text=inline + part.text)
        elif inline:
            yield Text(inline)
            yield part
        else:
            yield part
        inline = ""


def _message(conversation: Conversation, controls: Controls, text: str) -> Iterator[Part]:
    wanted = [controls.call] if controls.call else _wanted_tools(conversation, text)
    if wanted:
        if not conversation.forced and _schema(conversation) is None:
            yield Text(f"Calling {' and '.join(wanted)}.")
        yield from _tool_uses(conversation, wanted, text, controls.arguments)
    elif conversation.system_tools:
        yield from _searched(conversation.system_tools[0], _text(conversation, text), text)
    else:
        plain = _text(conversation, text)
        written = f"```json\n{plain}\n```\n" if controls.fence else plain
        yield from _cited(_split(written, controls.texts), controls.cite)


def _cited(texts: Iterator[Text], source: str | None) -> Iterator[Text]:
    """Yield the texts, the first of them with the source, if there is one."""
    for text in texts:
        yield replace(text, source=source)
        source = None


def _searched(tool: str, response: str, text: str) -> Iterator[Part]:
    """Yield a search of the web, and the text, with its source in a block after it (AWS's page on grounding)."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    yield SystemToolUse(f"tooluse_{digest[:22]}", tool, text)
    yield Text(response)
    yield Citation(response, f"https://example.com/{digest[:8]}")


def _wanted_tools(conversation: Conversation, text: str) -> list[str]:
    """Return the tools to call: the one that must be called, or those that the text names if no results are due.

    With `any`, a tool that has not been called since the user's last question comes first: an agent whose every request
    requires a tool ends with the one that returns its result, which a model that repeats itself would never call.
    """
    wanted = _named_tools(conversation, text)
    return wanted[:1] if conversation.own_tool_choice.get("disable_parallel_tool_use") is True else wanted


def _named_tools(conversation: Conversation, text: str) -> list[str]:
    kind, value = conversation.tool_choice
    tools = [tool["name"] for tool in conversation.tools]
    if kind == "tool":
        return [value["name"]]
    if kind == "any":
        called = conversation.called()
        fresh = [name for name in tools if name not in called] or tools
        return mentioned(fresh, text) or fresh[:1]
    return [] if kind == "none" or conversation.results() else mentioned(tools, text)


def _tool_uses(
    conversation: Conversation, names: list[str], text: str, ordered: dict[str, Any] | None
) -> Iterator[ToolUse]:
    """Yield a call of each tool, with the ordered arguments or with some that its schema accepts."""
    schemas = {tool["name"]: tool["inputSchema"]["json"] for tool in conversation.tools}
    for index, name in enumerate(names):
        if name not in schemas:
            raise invalid(f"bedrock_local cannot call {name}: the request has {', '.join(schemas) or 'no tools'}.")
        arguments = _fill(schemas[name], text) if ordered is None else ordered
        written = json.dumps(arguments, ensure_ascii=False)
        seed = f"{len(conversation.messages)}/{index}/{name}/{written}"
        digest = base64.urlsafe_b64encode(hashlib.sha256(seed.encode()).digest()).decode()
        yield ToolUse(f"tooluse_{digest[:22]}", name, arguments, written if arguments else "")


def _fill(schema: dict[str, Any], text: str) -> Any:
    try:
        return synthesise(schema, text)
    except SchemaError as problem:
        raise invalid(f"The model returned the following errors: {problem}") from None


def _text(conversation: Conversation, text: str) -> str:
    schema = _schema(conversation)
    if schema is not None:
        return json.dumps(_fill(json.loads(schema), text), ensure_ascii=False)
    plain = _plain_text(conversation, text)
    instructions = _instructions(conversation)
    if _JSON_WANTED.search(instructions) is None:
        return plain
    return json.dumps(_instructed(instructions, text, plain), ensure_ascii=False)


def _instructed(instructions: str, text: str, plain: str) -> Any:
    """Return JSON by the schema or with the keys that the instructions contain, or an object with the plain text."""
    announced = _SCHEMA_FOLLOWS.search(instructions)
    if announced is not None:
        try:
            schema, _ = json.JSONDecoder().raw_decode(instructions, announced.end())
            if not any(json_schema.problems(schema, "")):
                return synthesise(schema, text)
        except (SchemaError, ValueError, RecursionError):
            pass  # a schema in words is a request, not a rule
        return {"answer": plain}
    named = schema_of(instructions) or schema_of_keys(text)
    return {"answer": plain} if named is None else synthesise(named, text)


def _plain_text(conversation: Conversation, text: str) -> str:
    results = conversation.results()
    if results:
        return " ".join(_quote(conversation, result) for result in results)
    counting = _COUNT.search(text)
    if counting:
        return " ".join(map(str, range(1, min(int(counting[1]), conversation.model.max_tokens) + 1)))
    return _echo(conversation, text)


def _schema(conversation: Conversation) -> str | None:
    """Return the JSON schema of the text, as a string."""
    schema: str | None = conversation.at(("outputConfig", "textFormat", "structure", "jsonSchema", "schema"))
    return schema


def _quote(conversation: Conversation, result: Block) -> str:
    names = {call.value["toolUseId"]: call.value["name"] for call in conversation.blocks("toolUse")}
    verb = "failed with" if result.value.get("status") == "error" else "says"
    content = " ".join(_as_text(part) for part in result.value["content"])
    return f'{names[result.value["toolUseId"]]} {verb} "{_shorten(content, _ECHO)}".'


def _as_text(part: dict[str, Any]) -> str:
    kind, value = next(iter(part.items()))
    if kind == "text":
        return str(value)
    return json.dumps(value, ensure_ascii=False) if kind == "json" else f"[{kind}]"


def _echo(conversation: Conversation, text: str) -> str:
    kinds = [block.kind for block in conversation.last_user_turn()]
    counts = [_plural(kinds.count("text"), "text block"), _plural(kinds.count("image"), "image")]
    counts += [_plural(kinds.count(kind), kind) for kind in ("document", "video", "audio") if kind in kinds]
    counts.append(_plural(len(conversation.messages), "turn"))
    echo = f'You said: "{_shorten(text, _ECHO)}"' if text else "You said nothing"
    system = _instructions(conversation)
    prompt = f' System: "{_shorten(system, _SYSTEM_ECHO)}"' if system else ""
    return f"{echo} ({', '.join(counts)}).{prompt}"


def _instructions(conversation: Conversation) -> str:
    return " ".join(block["text"] for block in conversation.request.get("system", []) if "text" in block)


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _split(text: str, number: int) -> Iterator[Text]:
    """Yield the text as up to `number` blocks, divided between words."""
    words = re.findall(r"\s*\S+|\s+$", text)
    size = -(-len(words) // max(number, 1))
    for start in range(0, len(words), size or 1):
        yield Text("".join(words[start : start + size]))


# --- end -------------------------------------------------------------------------------------------------------------


def _stop(parts: tuple[Part, ...], sequences: Iterable[str]) -> tuple[tuple[Part, ...], str | None]:
    """Return the parts up to the first stop sequence in a text, and that sequence."""
    for number, part in enumerate(parts):
        if isinstance(part, Text):
            met = [(part.text.index(sequence), sequence) for sequence in sequences if sequence in part.text]
            if met:
                place, sequence = min(met)
                rest = (replace(part, text=part.text[:place]),) if place else ()
                return (*parts[:number], *rest), sequence
    return parts, None


def _truncate(parts: tuple[Part, ...], budget: int) -> tuple[Part, ...]:
    """Return the parts that fit into `budget` tokens, the last of them cut short."""
    kept: list[Part] = []
    for part in parts:
        cost = _cost(part)
        if cost > budget:
            return (*kept, *_shortened(part, budget))
        kept.append(part)
        budget -= cost
    return parts


def _shortened(part: Part, budget: int) -> tuple[Part, ...]:
    if budget == 0:
        return ()
    if isinstance(part, Redacted | Image):
        return ()
    if isinstance(part, SystemToolUse | Citation):
        return ()
    if isinstance(part, ToolUse):
        return (replace(part, input={}, arguments=tokens.cut(part.arguments, budget - 1)),)
    shortened = replace(part, text=tokens.cut(part.text, budget))
    return (replace(shortened, signature=None) if isinstance(shortened, Reasoning) else shortened,)


def _cost(part: Part) -> int:
    if isinstance(part, Redacted):
        return _REDACTED_COST
    if isinstance(part, Image):
        return _IMAGE_COST
    if isinstance(part, SystemToolUse | Citation):
        return 0
    return tokens.count(part.arguments) + 1 if isinstance(part, ToolUse) else tokens.count(part.text)


def _usage(conversation: Conversation, controls: Controls, parts: tuple[Part, ...]) -> dict[str, Any]:
    """Return the usage as Bedrock counts: inputTokens without the tokens of the cache, totalTokens with them."""
    received, sent = tokens.input_tokens(conversation), sum(map(_cost, parts))
    cached = controls.cacheread + controls.cachewrite
    usage: dict[str, Any] = {"inputTokens": received, "outputTokens": sent, "totalTokens": received + sent + cached}
    if conversation.family.cache or cached:
        usage |= {"cacheReadInputTokens": controls.cacheread, "cacheWriteInputTokens": controls.cachewrite}
    if controls.cachewrite:
        usage["cacheDetails"] = [{"ttl": "5m", "inputTokens": controls.cachewrite}]
    return usage
