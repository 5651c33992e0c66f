"""Strategies for chat requests: JSON, messages, tools, and whole requests."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

FETCHED = {"https://x/fetched.png": b"\x89PNG\r\n\x1a\n.", "http://x/b.gif": b"GIF89a"}

# JSON of any kind

characters = st.characters(codec="utf-8") | st.sampled_from(["\u00a0", "\u2028", "\ufeff", "\U0001f600", "\x00", "`"])
words = st.text(characters, max_size=12)
blank = st.sampled_from(["", " ", "\n\t", "\u2003"])
texts = st.one_of(st.text(characters, min_size=1, max_size=12), st.sampled_from(["Hi", "Go on."]), words, blank)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**40), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
objects = st.dictionaries(texts, values, max_size=3)


def rarely(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = values) -> st.SearchStrategy[Any]:
    """Return `usual`, and something else one time in about a hundred."""
    return st.integers(0, 99).flatmap(lambda dice: odd if dice == 31 else usual)


# Messages

images = st.sampled_from([b"\x89PNG\r\n\x1a\n.", b"GIF89a", b"\xff\xd8\xff", b"RIFF....WEBP"]).map(
    lambda content: "data:image/png;base64," + base64.b64encode(content).decode()
)
remote_images = rarely(st.sampled_from(sorted(FETCHED)), st.just("s3://bucket/a.png"))
bad_images = st.sampled_from(["https://x/a.png", "data:,", "data:image/png;base64,%", "data:image/png;base64,aGk=", ""])
urls = rarely(images | remote_images, bad_images | texts)
marks = st.sampled_from(
    [
        *[{}] * 4,
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        {"cache_control": None},
    ]
)


def part(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a content part, now and then marked for the prompt cache."""
    return st.builds(
        lambda mark, part_fields: {"type": kind, **part_fields, **mark}, marks, st.fixed_dictionaries(fields)
    )


text_part = part("text", text=texts)
image_part = part("image_url", image_url=urls.map(lambda url: {"url": url, "detail": "auto"}))
files = st.fixed_dictionaries(
    {
        "file_data": rarely(
            st.sampled_from(["JVBERi0xLjc=", "data:text/plain;base64,aGk=", "data:;base64,JVBERi0xLjc="]),
            texts | st.sampled_from(["s3://bucket/a.pdf", "YSxi"]),
        )
    },
    optional={"filename": st.sampled_from(["a.pdf", "b.csv", "c", None]), "file_id": rarely(st.none(), texts)},
)
file_part = part("file", file=files)
sound_part = part(
    "input_audio",
    input_audio=st.fixed_dictionaries(
        {"data": rarely(st.just("aGk="), texts), "format": st.sampled_from(["wav", "mp3"])}
    ),
)
video_part = part(
    "video_url",
    video_url=st.sampled_from(["data:video/mp4;base64,aGk=", "data:,", "s3://bucket/a.mov"]).map(
        lambda url: {"url": url}
    ),
)
media_part = image_part | file_part | sound_part | video_part
other_part = st.sampled_from([{"type": "refusal", "refusal": "No."}, {"type": "file", "file": {}}, {"type": "other"}])
plain = texts | st.lists(text_part, max_size=3)
names = rarely(
    st.sampled_from(["f", "g", "get_weather", "x" * 64, "mcp.a/b", "x" * 65, "f\n"]),
    st.sampled_from(["", "x" * 513]),
)
ids = st.sampled_from(["c1", "c2", "c3", "id/1", "x" * 65, ""]) | words
arguments = rarely(objects.map(json.dumps), blank | st.sampled_from(["null", "[]", "{", '{"a":1.0}{}']) | texts)


def message_of(role: str, content: st.SearchStrategy[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    message = st.fixed_dictionaries({"role": st.just(role), "content": content}, optional={"name": texts, **fields})
    return st.builds(lambda part_fields, mark: {**part_fields, **mark}, message, marks)


instructions = st.sampled_from(["system", "developer"]).flatmap(lambda role: message_of(role, plain))
users = message_of("user", texts | st.lists(text_part | text_part | rarely(media_part, other_part), max_size=3))
refusal_part = st.builds(lambda text: {"type": "refusal", "refusal": text}, texts)
thoughts = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("thinking"), "thinking": texts}, optional={"signature": st.none() | st.just("sig") | blank}
    )
    | st.builds(lambda data: {"type": "redacted_thinking", "data": data}, rarely(st.just("eHk="), texts)),
    max_size=2,
)
assistants = message_of(
    "assistant",
    st.none() | plain | st.lists(text_part | refusal_part, max_size=2),
    refusal=st.none() | texts,
    thinking_blocks=st.none() | thoughts,
    reasoning_content=st.none() | texts,
)


requested_formats = st.builds(
    lambda name, payload: {"type": "function", "function": {"name": name, "arguments": payload}}, names, arguments
) | st.builds(lambda name, payload: {"type": "custom", "custom": {"name": name, "input": payload}}, names, texts)


@st.composite
def legacy_rounds(draw: st.DrawFn) -> list[Any]:
    """Draw a call and a result in the form from before tools, or one without the other."""
    name = draw(names)
    calling = {**draw(assistants), "function_call": {"name": name, "arguments": draw(arguments)}}
    result = {"role": "function", "name": draw(rarely(st.just(name), names)), "content": draw(st.none() | texts)}
    return draw(rarely(st.just([calling, result]), st.sampled_from([[calling], [result]])))


in_results = rarely(plain | st.lists(text_part | image_part, max_size=2), st.lists(text_part | file_part, max_size=2))


@st.composite
def rounds(draw: st.DrawFn, payload: st.SearchStrategy[Any] = in_results) -> list[Any]:
    """Draw an assistant's tool calls and their results, in any order, now and then one too few or many."""
    calling = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    calls = [{"id": call_id, **draw(requested_formats)} for call_id in calling]
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": draw(payload), **draw(marks)} for call_id in calling
    ]
    results = draw(st.permutations(results))
    results = draw(rarely(st.just(results), st.sampled_from([results[1:], [*results, results[0]]])))
    between = draw(st.lists(instructions, max_size=1))
    return [{**draw(assistants), "tool_calls": calls}, *results[:1], *between, *results[1:]]


exchanges = st.one_of(
    users.map(lambda one: [one]), assistants.map(lambda one: [one]), instructions.map(lambda one: [one])
)
conversations = st.lists(st.one_of(exchanges, exchanges, rounds(), legacy_rounds()), min_size=1, max_size=6).map(
    lambda parts: [message for part in parts for message in part]
)

# Requests

recursive = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}
schemas = rarely(
    st.one_of(
        st.sampled_from([None, {}, recursive]),
        rarely(objects.map(lambda schema: {**schema, "type": "object"}), objects),
    )
)
functions = st.fixed_dictionaries(
    {"name": names},
    optional={"description": st.none() | texts, "parameters": schemas, "strict": st.none() | st.booleans()},
)
tools = st.lists(
    rarely(
        functions.map(lambda function: {"type": "function", "function": function}),
        st.just({"type": "custom", "custom": {"name": "shell"}}),
    ),
    max_size=3,
    unique_by=lambda tool: json.dumps(tool.get("function", {}).get("name")),
)
choices = st.one_of(
    st.sampled_from([None, "none", "auto", "auto"]),
    rarely(st.just("required"), names.map(lambda name: {"type": "function", "function": {"name": name}})),
    rarely(
        st.just("auto"),
        st.builds(
            lambda mode, name: {
                "type": "allowed_tools",
                "allowed_tools": {"mode": mode, "tools": [{"type": "function", "function": {"name": name}}]},
            },
            st.sampled_from(["auto", "required"]),
            names,
        ),
    ),
)
formats = st.one_of(
    st.sampled_from([None, {"type": "text"}, {"type": "json_object"}]),
    st.builds(
        lambda name, schema, about: {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "description": about},
        },
        names,
        schemas,
        st.none() | texts,
    ),
)
requests = st.fixed_dictionaries(
    {"model": rarely(st.just("m")), "messages": rarely(conversations)},
    optional={
        "stream": st.none() | st.booleans(),
        "stream_options": rarely(st.none(), st.just({"include_usage": True})),
        "max_tokens": st.none() | rarely(st.integers(1, 4096), st.integers()),
        "max_completion_tokens": rarely(st.none(), st.integers()),
        "temperature": st.none() | rarely(st.floats(0, 1), st.floats(allow_nan=False, allow_infinity=False)),
        "top_p": st.none() | rarely(st.floats(0, 1) | st.integers(0, 1)),
        "stop": st.none() | texts | st.lists(texts, max_size=3),
        "n": rarely(st.sampled_from([None, 1])),
        "tools": rarely(tools, st.none()),
        "tool_choice": choices,
        "functions": rarely(st.none(), st.lists(functions, max_size=2)),
        "response_format": formats,
        "seed": rarely(st.none() | st.integers()),
        "logit_bias": rarely(st.none() | st.dictionaries(words, st.integers(-100, 100), max_size=2)),
        "metadata": rarely(st.none() | st.dictionaries(words, words, max_size=2)),
        "reasoning_effort": rarely(st.none(), st.just("high")),
        "parallel_tool_calls": rarely(st.none() | st.booleans()),
    },
)

patterns = st.sampled_from(["^a+$", "^(?!x)", "(?<=a)b", r"(a)\1", r"\bword\b"])
"""Patterns, some of them with look-around or back references."""
leaves = st.one_of(
    st.builds(
        lambda pattern, form: {"type": "string", "pattern": pattern, "format": form},
        patterns,
        st.sampled_from(["date", "byte"]),
    ),
    st.just({"type": "integer", "minimum": 1, "exclusiveMaximum": 9}),
    st.just({"enum": ["a", 1, None]}),
    st.just({"type": ["string", "null"], "description": "d"}),
    st.sampled_from([{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, {"$ref": "#"}]),
)
closed = st.sampled_from([{}, {"additionalProperties": False}, {"additionalProperties": False}])


def nested(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas that contain such schemas."""
    return st.one_of(
        st.builds(
            lambda part_fields, more: {
                "type": "object",
                "properties": part_fields,
                "required": list(part_fields)[:1],
                **more,
            },
            st.dictionaries(st.sampled_from(["a", "b", "$ref", "pattern"]), below, max_size=3),
            closed,
        ),
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, below, st.integers(0, 2)),
        st.builds(
            lambda key, one, other: {key: [one, other]}, st.sampled_from(["anyOf", "oneOf", "allOf"]), below, below
        ),
        st.builds(
            lambda pattern, one: {"type": "object", "patternProperties": {pattern: one, "^b": one}}, patterns, below
        ),
        below.map(lambda one: {"type": "object", "additionalProperties": one}),
    )


rich_schemas = st.builds(
    lambda properties, one, other, more: {
        "type": "object",
        "properties": properties,
        "$defs": {"A": one, "B": other},
        **more,
    },
    st.dictionaries(st.sampled_from(["a", "b"]), st.recursive(leaves, nested, max_leaves=4), max_size=2),
    leaves,
    nested(leaves),
    closed,
)
"""Realistic JSON Schemas, with keywords that some families do not support."""
plain_schema = {
    "type": "object",
    "properties": {"a": {"type": ["string", "null"]}, "b": {"anyOf": [{"type": "integer"}, {"enum": ["x"]}]}},
    "required": ["a"],
    "additionalProperties": False,
}
any_schema = rich_schemas | st.just(plain_schema)
tool_lists = st.lists(
    st.builds(
        lambda name, schema, strict, mark: {
            "type": "function",
            "function": {"name": name, "parameters": schema, "strict": strict},
            **{key: value for key, value in mark.items() if key == "cache_control"},
        },
        st.sampled_from(["f", "g", "mcp.a/b"]),
        any_schema,
        st.booleans(),
        marks,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: str(tool["function"]["name"]),
)
with_tools = st.fixed_dictionaries(
    {"tools": tool_lists},
    optional={
        "tool_choice": st.sampled_from(["auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
    },
)
thinking = st.fixed_dictionaries({"type": st.sampled_from(["enabled", "adaptive", "disabled"])}).map(
    lambda message_of: {**message_of, "budget_tokens": 1024} if message_of["type"] == "enabled" else message_of
)
reasons: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"reasoning_effort": st.sampled_from(["none", "minimal", "low", "high", "max"])}),
    st.fixed_dictionaries({"thinking": thinking}),
)
beside_messages = st.builds(
    lambda tools, reasoning, more: {**tools, **reasoning, **more},
    st.just({}) | with_tools,
    reasons,
    st.fixed_dictionaries(
        {},
        optional={
            "stream": st.booleans(),
            "max_tokens": st.integers(1, 2048),
            "temperature": st.floats(0, 1),
            "guardrailConfig": st.just({"guardrailIdentifier": "gr1", "guardrailVersion": "1"}),
            "top_k": rarely(st.none(), st.integers(0, 500)),
            "response_format": any_schema.map(
                lambda schema: {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
            ),
        },
    ),
)
"""Fields of a request beside its conversation."""
