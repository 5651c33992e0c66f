"""Requests whose size is all of one kind: what a caller can make many of, or make large.

Each shape is a function from a count to a request body. `most` is the largest count that is accepted, where there is
one; with more the body is rejected, which must be as cheap.
"""

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MODEL = "anthropic.claude-sonnet-4-6"
GPT_OSS = "openai.gpt-oss-120b-1:0"
"""Of a family that reads no references in schemas."""
GROK = "xai.grok-4.3"
"""Of a family that reads no look-around in schemas."""
EMBEDDING_MODEL = "amazon.titan-embed-text-v2:0"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(46)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(45)).decode()
MARK = {"type": "ephemeral"}
USER = {"role": "user", "content": "Hello"}

Json = Any
"""A value that `json.dumps` takes."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request; `write` makes a body with `count` of what it has many of."""

    write: Callable[[int], bytes]
    most: int | None = None
    embeddings: bool = False

    def of_size(self, size: int) -> bytes:
        """A body of about `size` bytes."""
        few, many = len(self.write(64)), len(self.write(128))
        return self.write(max(1, round((size - few) * 64 / (many - few)) + 64))


def _chat(**fields: Json) -> bytes:
    return json.dumps({"model": MODEL, "messages": [USER], **fields}, separators=(",", ":")).encode()


def _messages(messages: Iterable[Json], **fields: Json) -> bytes:
    return _chat(messages=[USER, *messages], **fields)


def _parts(parts: Iterable[Json]) -> bytes:
    return _chat(messages=[{"role": "user", "content": [*parts]}])


def _tool(name: str, **more: Json) -> Json:
    return {"type": "function", "function": {"name": name, **more}}


def _call(call_id: str, name: str = "look", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _calling(*calls: Json) -> Json:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def _result(call_id: str, content: Json = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _turns(count: int, call_id: Callable[[int], str], **more: Json) -> bytes:
    pairs = [message for at in range(count) for message in (_calling(_call(call_id(at))), _result(call_id(at)))]
    return _messages(pairs, tools=[_tool("look")], **more)


def _schema(schema: Json) -> bytes:
    return _chat(tools=[_tool("look", parameters=schema, strict=True)])


def _format(schema: Json) -> bytes:
    return _chat(
        response_format={"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}
    )


def _object(properties: Json, **more: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }


def _properties(count: int) -> Json:
    return {f"p{at}": {"type": "string"} for at in range(count)}


def _deep(count: int) -> Json:
    schema: Json = {"type": "string"}
    for _ in range(40):
        schema = _object({"a": schema})
    return _object({f"b{at}": schema for at in range(count)})


def _references(count: int) -> Json:
    """Each reference spells the name of its definition in another way, and every definition is large."""
    letters = [f"{at:016b}".replace("0", "a").replace("1", "%61") for at in range(count)]
    return _object(
        {"x": {"anyOf": [{"$ref": f"#/$defs/{letter}"} for letter in letters]}},
        **{"$defs": {"a" * 16: _object({"y": {"anyOf": [{"type": "string"}] * count}})}},
    )


def _chain(count: int) -> Json:
    definitions = {f"D{at}": _object({"n": {"$ref": f"#/$defs/D{at + 1}"}}) for at in range(count)}
    return _object({"n": {"$ref": "#/$defs/D0"}}, **{"$defs": definitions | {f"D{count}": {"type": "string"}}})


def _doubling(levels: int) -> Json:
    """A small definition that is used 2 ** `levels` times."""
    definitions = {str(at): {"anyOf": [{"$ref": f"#/d/{at + 1}"}] * 2} for at in range(levels)}
    return _object({"p": {"$ref": "#/d/0"}}, d={**definitions, str(levels): {}})


def _empty_definition(count: int) -> Json:
    """An empty definition that is used often, in a schema that is large enough to be checked."""
    return _object({"p": {"anyOf": [{"$ref": "#/d"}] * count}}, d={}, description="a" * 5_000)


def _nested_patterns() -> Json:
    """Look-around within look-around."""
    schema: Json = {"type": "string"}
    for _ in range(12):
        schema = {"patternProperties": {"(?=a)": schema}}
    return schema


def _mutual(count: int) -> Json:
    """Definitions each of which uses all others."""
    every = [{"$ref": f"#/$defs/D{at}"} for at in range(count)]
    return _object({"x": {"anyOf": every}}, **{"$defs": {f"D{at}": {"anyOf": every} for at in range(count)}})


def _root_chain(count: int) -> Json:
    """A root that is a reference to a reference, in an object with many others."""
    chain = {f"C{at}": {"$ref": f"#/$defs/C{at + 1}"} for at in range(7)}
    return {"$ref": "#/$defs/C0", "$defs": {**chain, "C7": {"type": "object"}, **_properties(count)}}


def _embeddings(value: Json) -> bytes:
    return json.dumps({"model": EMBEDDING_MODEL, "input": value}, separators=(",", ":")).encode()


def _text(text: str) -> bytes:
    return _chat(messages=[{"role": "user", "content": text}])


def _raw(value: str, field: str = "prediction") -> bytes:
    body = _chat(**{field: {"x": "HERE"}}).decode()
    return body.replace('"HERE"', value).encode()


def _image(count: int) -> bytes:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(48 * count + 1)).decode()
    return _parts([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}])


def _document(count: int) -> bytes:
    data = base64.b64encode(b"%PDF-1.7\n" + bytes(48 * count)).decode()
    return _parts([{"type": "text", "text": "Read"}, {"type": "file", "file": {"file_data": data}}])


SHAPES: dict[str, Shape] = {
    "tools": Shape(lambda n: _chat(tools=[_tool(f"tool_{at}") for at in range(n)]), 128),
    "tools, new names": Shape(lambda n: _chat(tools=[_tool(f"tool.{at}") for at in range(n)]), 128),
    "tools, cache marks": Shape(
        lambda n: _chat(tools=[_tool(f"t{at}") | {"cache_control": MARK} for at in range(n)]), 128
    ),
    "functions": Shape(lambda n: _chat(functions=[{"name": f"f.{at}"} for at in range(n)]), 128),
    "allowed tools": Shape(
        lambda n: _chat(
            tools=[_tool("look")],
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_tool("look")] * n}},
        ),
        128,
    ),
    "messages": Shape(lambda n: _messages([USER] * n), 32_767),
    "messages, alternating": Shape(lambda n: _messages([{"role": "assistant", "content": "Yes"}, USER] * n), 16_383),
    "messages, assistant": Shape(
        lambda n: _messages([*[{"role": "assistant", "content": "Yes"}] * n, USER], reasoning_effort="high"), 32_766
    ),
    "messages, system": Shape(lambda n: _messages([{"role": "system", "content": "Be brief."}, USER] * n), 16_383),
    "messages, blank": Shape(lambda n: _messages([{"role": "user", "content": " "}] * n), 32_767),
    "messages, marked": Shape(lambda n: _messages([USER | {"cache_control": MARK}] * n), 32_767),
    "messages, unknown fields": Shape(lambda n: _messages([USER | {f"x{at}": 1} for at in range(n)]), 32_767),
    "messages, one unknown field": Shape(lambda n: _messages([USER | {"x": {f"a{at}": [at] for at in range(n)}}])),
    "tool calls": Shape(lambda n: _turns(n, lambda at: f"call_{at}"), 16_383),
    "tool calls, one id": Shape(lambda n: _turns(n, lambda _: "call_1"), 16_383),
    "tool calls, unfit ids": Shape(lambda n: _turns(n, lambda at: f"call {at}"), 16_383),
    "tool calls, one long id": Shape(lambda n: _turns(n, lambda _: "call " * n), 16_383),
    "tool calls, no tools": Shape(
        lambda n: _messages([m for at in range(n) for m in (_calling(_call(f"c{at}")), _result(f"c{at}"))]), 16_383
    ),
    "tool calls, parallel": Shape(
        lambda n: _messages(
            [_calling(*[_call(f"c{at}") for at in range(n)]), *[_result(f"c{at}") for at in range(n)]],
            tools=[_tool("look")],
        ),
        1_024,
    ),
    "tool calls, unknown tools": Shape(
        lambda n: _messages(
            [m for at in range(n) for m in (_calling(_call(f"c{at}", f"other.{at}")), _result(f"c{at}"))],
            tools=[_tool("look")],
        ),
        16_383,
    ),
    "tool calls, joined arguments": Shape(
        lambda n: _messages([_calling(_call("c", "look", "{}" * n)), _result("c")], tools=[_tool("look")]), 1_024
    ),
    "tool calls, joined arguments of many": Shape(
        lambda n: _messages(
            [m for at in range(n) for m in (_calling(_call(f"c{at}", "look", "{}" * 1_000)), _result(f"c{at}"))],
            tools=[_tool("look")],
        ),
        16_383,
    ),
    "tool calls, large arguments": Shape(
        lambda n: _messages(
            [_calling(_call("c", "look", json.dumps({"a": "b" * 40 * n}))), _result("c")], tools=[_tool("look")]
        )
    ),
    "tool calls, unanswered": Shape(
        lambda n: _messages([_calling(*[_call(f"c{at}") for at in range(n)]), USER], tools=[_tool("look")]), 1_024
    ),
    "tool results, orphans": Shape(lambda n: _messages([_result(f"c{at}") for at in range(n)], tools=[_tool("look")])),
    "tool results, parts": Shape(
        lambda n: _messages(
            [_calling(_call("c")), _result("c", [{"type": "text", "text": "ok", "cache_control": MARK}] * n)],
            tools=[_tool("look")],
        ),
        5_000,
    ),
    "function messages": Shape(
        lambda n: _messages(
            [
                message
                for _ in range(n)
                for message in (
                    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                    {"role": "function", "name": "f", "content": "ok"},
                )
            ],
            functions=[{"name": "f"}],
        ),
        16_383,
    ),
    "thinking blocks": Shape(
        lambda n: _messages(
            [
                {
                    "role": "assistant",
                    "content": "Yes",
                    "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "abcd"}] * n,
                },
                USER,
            ]
        ),
        1_024,
    ),
    "text parts": Shape(lambda n: _parts([{"type": "text", "text": "word"}] * n), 5_000),
    "text parts, marked": Shape(lambda n: _parts([{"type": "text", "text": "word", "cache_control": MARK}] * n), 5_000),
    "text parts, many messages": Shape(
        lambda n: _messages([{"role": "user", "content": [{"type": "text", "text": "word"}] * 8}] * n), 32_767
    ),
    "image parts": Shape(
        lambda n: _parts([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}] * n), 5_000
    ),
    "image parts, remote": Shape(
        lambda n: _parts([{"type": "image_url", "image_url": {"url": f"https://a.example/{at}"}} for at in range(n)]),
        5_000,
    ),
    "file parts": Shape(lambda n: _parts([{"type": "file", "file": {"file_data": PDF}}] * n), 5_000),
    "one image": Shape(_image),
    "one document": Shape(_document),
    "schema, wide": Shape(lambda n: _schema(_object(_properties(n))), 9_900),
    "schema, wide, as the format": Shape(lambda n: _format(_object(_properties(n))), 9_900),
    "schema, deep": Shape(lambda n: _schema(_deep(n)), 80),
    "schema, deep, as the format": Shape(lambda n: _format(_deep(n)), 80),
    "schema, enum": Shape(lambda n: _format(_object({"a": {"enum": [f"v{at}" for at in range(n)]}})), 100_000),
    "schema, alternatives": Shape(lambda n: _format(_object({"a": {"anyOf": [{"type": "string"}] * n}})), 19_900),
    "schema, definitions": Shape(lambda n: _format(_chain(n)), 2_800),
    "schema, references": Shape(lambda n: _format(_references(n)), 9_900),
    "schema, references, nested": Shape(
        lambda n: _chat(model=GPT_OSS, tools=[_tool(f"t{at}", parameters=_doubling(12)) for at in range(n)]), 128
    ),
    "schema, references, empty": Shape(
        lambda n: _chat(model=GPT_OSS, tools=[_tool("t", parameters=_empty_definition(n))]), 2_600
    ),
    "schema, references, mutual": Shape(
        lambda n: _chat(model=GPT_OSS, tools=[_tool(f"t{at}", parameters=_mutual(20), strict=True) for at in range(n)]),
        128,
    ),
    "schema, references, escaped": Shape(
        lambda n: _chat(model=GPT_OSS, tools=[_tool("t", parameters=_object({"p": {"$ref": "#/" + "%41" * n}}))])
    ),
    "schema, patterns, nested": Shape(
        lambda n: _chat(
            model=GROK, tools=[_tool("t", parameters=_object({f"p{at}": _nested_patterns() for at in range(n)}))]
        ),
        640,
    ),
    "schema, root reference, in steps": Shape(lambda n: _schema(_root_chain(n)), 9_900),
    "schema, patterns": Shape(
        lambda n: _format(_object({f"p{at}": {"type": "string", "pattern": "^(?!a)b"} for at in range(n)})),
        6_600,
    ),
    "schema, root reference": Shape(
        lambda n: _format({"$ref": "#/$defs/A", "$defs": {"A": _object(_properties(n))}}), 9_900
    ),
    "unknown fields": Shape(lambda n: _chat(**{f"x{at}": at for at in range(n)})),
    "metadata": Shape(lambda n: _chat(metadata={f"k{at}": "v" for at in range(n)})),
    "stop": Shape(lambda n: _chat(stop=[f"s{at}" for at in range(n)]), 2_500),
    "logit bias": Shape(lambda n: _chat(logit_bias={str(at): 1 for at in range(n)}), 2_048),
    "free objects": Shape(lambda n: _raw("[" + "{}," * n + "0]")),
    "free numbers": Shape(lambda n: _raw("[" + "1," * n + "0]")),
    "free nesting": Shape(lambda n: _raw("[" + ("[" * 100 + "]" * 100 + ",") * n + "0]")),
    "model fields": Shape(lambda n: _raw("[" + "{}," * n + "0]", "additionalModelRequestFields")),
    "nested arrays": Shape(lambda n: _raw("[" * n + "]" * n)),
    "duplicate keys": Shape(lambda n: _chat().replace(b"{", b"{" + b'"user":"a",' * n, 1)),
    "one text": Shape(lambda n: _text("word " * n)),
    "one text, not ASCII": Shape(lambda n: _text("HERE").replace(b"HERE", "wörter ".encode() * n)),
    "one text, escapes": Shape(lambda n: _text('\n"\\\u00e9' * n)),
    "one text, JSON inside": Shape(lambda n: _text('{"a":[1,2]},' * n)),
    "one text, blank": Shape(lambda n: _text(" " * n)),
    "white space": Shape(lambda n: _chat() + b" " * n),
    "no JSON": Shape(lambda n: b"x" * n),
    "a cut text": Shape(lambda n: b'{"model":"' + b"\\u00e9" * n),
    "embeddings, texts": Shape(lambda n: _embeddings(["word " * 20] * n), 2_048, embeddings=True),
    "embeddings, short texts": Shape(lambda n: _embeddings(["a"] * n), 2_048, embeddings=True),
    "embeddings, one text": Shape(lambda n: _embeddings("a" * n), 50_000, embeddings=True),
    "embeddings, tokens": Shape(lambda n: _embeddings([9906] * n), 8_000, embeddings=True),
    "embeddings, token arrays": Shape(lambda n: _embeddings([[9906] * 100] * n), 2_048, embeddings=True),
    "embeddings, mixture": Shape(lambda n: _embeddings(["a"] * n + [1]), embeddings=True),
}
"""By their names."""
