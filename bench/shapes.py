"""Requests whose size is all of one kind: what a caller can make many of, or make large.

Each shape is a function from a count to a request body. `most` is the largest count that is accepted, where there is
one; with more the body is rejected, which must be as cheap.
"""

import base64
import json
from collections.abc import Callable, Iterable

from bench.bodies import USER, Json, Shape, chat, tool
from bench.schema_shapes import SCHEMA_SHAPES

EMBEDDING_MODEL = "amazon.titan-embed-text-v2:0"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(46)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(45)).decode()
MARK = {"type": "ephemeral"}


def _messages(messages: Iterable[Json], **fields: Json) -> bytes:
    return chat(messages=[USER, *messages], **fields)


def _parts(parts: Iterable[Json]) -> bytes:
    return chat(messages=[{"role": "user", "content": [*parts]}])


def _call(call_id: str, name: str = "look", arguments: str = "{}") -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _calling(*calls: Json) -> Json:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def _result(call_id: str, content: Json = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def _turns(count: int, call_id: Callable[[int], str], **more: Json) -> bytes:
    pairs = [message for at in range(count) for message in (_calling(_call(call_id(at))), _result(call_id(at)))]
    return _messages(pairs, tools=[tool("look")], **more)


def _embeddings(value: Json) -> bytes:
    return json.dumps({"model": EMBEDDING_MODEL, "input": value}, separators=(",", ":")).encode()


def _text(text: str) -> bytes:
    return chat(messages=[{"role": "user", "content": text}])


def _raw(value: str, field: str = "prediction") -> bytes:
    body = chat(**{field: {"x": "HERE"}}).decode()
    return body.replace('"HERE"', value).encode()


def _image(count: int) -> bytes:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(48 * count + 1)).decode()
    return _parts([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}])


def _document(count: int) -> bytes:
    data = base64.b64encode(b"%PDF-1.7\n" + bytes(48 * count)).decode()
    return _parts([{"type": "text", "text": "Read"}, {"type": "file", "file": {"file_data": data}}])


SHAPES: dict[str, Shape] = {
    "tools": Shape(lambda n: chat(tools=[tool(f"tool_{at}") for at in range(n)]), 128),
    "tools, new names": Shape(lambda n: chat(tools=[tool(f"tool.{at}") for at in range(n)]), 128),
    "tools, cache marks": Shape(
        lambda n: chat(tools=[tool(f"t{at}") | {"cache_control": MARK} for at in range(n)]), 128
    ),
    "functions": Shape(lambda n: chat(functions=[{"name": f"f.{at}"} for at in range(n)]), 128),
    "allowed tools": Shape(
        lambda n: chat(
            tools=[tool("look")],
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("look")] * n}},
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
            tools=[tool("look")],
        ),
        1_024,
    ),
    "tool calls, unknown tools": Shape(
        lambda n: _messages(
            [m for at in range(n) for m in (_calling(_call(f"c{at}", f"other.{at}")), _result(f"c{at}"))],
            tools=[tool("look")],
        ),
        16_383,
    ),
    "tool calls, joined arguments": Shape(
        lambda n: _messages([_calling(_call("c", "look", "{}" * n)), _result("c")], tools=[tool("look")]), 1_024
    ),
    "tool calls, joined arguments of many": Shape(
        lambda n: _messages(
            [m for at in range(n) for m in (_calling(_call(f"c{at}", "look", "{}" * 1_000)), _result(f"c{at}"))],
            tools=[tool("look")],
        ),
        16_383,
    ),
    "tool calls, large arguments": Shape(
        lambda n: _messages(
            [_calling(_call("c", "look", json.dumps({"a": "b" * 40 * n}))), _result("c")], tools=[tool("look")]
        )
    ),
    "tool calls, unanswered": Shape(
        lambda n: _messages([_calling(*[_call(f"c{at}") for at in range(n)]), USER], tools=[tool("look")]), 1_024
    ),
    "tool results, orphans": Shape(lambda n: _messages([_result(f"c{at}") for at in range(n)], tools=[tool("look")])),
    "tool results, JSON": Shape(
        lambda n: _messages(
            [m for at in range(n) for m in (_calling(_call(f"c{at}")), _result(f"c{at}", '{"a":[1,{"b":2}]}'))],
            tools=[tool("look")],
        ),
        16_383,
    ),
    "tool results, one large JSON": Shape(
        lambda n: _messages(
            [_calling(_call("c")), _result("c", json.dumps({f"a{at}": at for at in range(n)}))], tools=[tool("look")]
        )
    ),
    "tool results, parts": Shape(
        lambda n: _messages(
            [_calling(_call("c")), _result("c", [{"type": "text", "text": "ok", "cache_control": MARK}] * n)],
            tools=[tool("look")],
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
    **SCHEMA_SHAPES,
    "unknown fields": Shape(lambda n: chat(**{f"x{at}": at for at in range(n)})),
    "metadata": Shape(lambda n: chat(metadata={f"k{at}": "v" for at in range(n)})),
    "stop": Shape(lambda n: chat(stop=[f"s{at}" for at in range(n)]), 2_500),
    "logit bias": Shape(lambda n: chat(logit_bias={str(at): 1 for at in range(n)}), 2_048),
    "logit bias, long numbers": Shape(
        lambda n: chat(logit_bias={f"{at}": "HERE" for at in range(n)}).replace(b'"HERE"', b"0." + b"12" * 200), 2_048
    ),
    "free long numbers": Shape(lambda n: _raw("[" + ("9" * 4_000 + ",") * n + "0]")),
    "one long number": Shape(lambda n: _raw("9" * n)),
    "one long number, as the seed": Shape(lambda n: chat(seed="HERE").replace(b'"HERE"', b"9" * n)),
    "model fields, long numbers": Shape(
        lambda n: _raw("[" + ("9" * 4_000 + ",") * n + "0]", "additionalModelRequestFields")
    ),
    "free objects": Shape(lambda n: _raw("[" + "{}," * n + "0]")),
    "free numbers": Shape(lambda n: _raw("[" + "1," * n + "0]")),
    "free nesting": Shape(lambda n: _raw("[" + ("[" * 100 + "]" * 100 + ",") * n + "0]")),
    "model fields": Shape(lambda n: _raw("[" + "{}," * n + "0]", "additionalModelRequestFields")),
    "nested arrays": Shape(lambda n: _raw("[" * n + "]" * n)),
    "duplicate keys": Shape(lambda n: chat().replace(b"{", b"{" + b'"user":"a",' * n, 1)),
    "one text": Shape(lambda n: _text("word " * n)),
    "one text, not ASCII": Shape(lambda n: _text("HERE").replace(b"HERE", "wörter ".encode() * n)),
    "one text, escapes": Shape(lambda n: _text('\n"\\\u00e9' * n)),
    "one text, JSON inside": Shape(lambda n: _text('{"a":[1,2]},' * n)),
    "one text, blank": Shape(lambda n: _text(" " * n)),
    "white space": Shape(lambda n: chat() + b" " * n),
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
