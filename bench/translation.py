"""Measure the translation: µs of CPU per request and per streamed frame, without any transport.

Run it as `make bench-translation`. Each figure is the best of several rounds: this measures the code and not the
machine's other work. A request is decoded, planned for its family and signed; a frame is decoded and written as SSE.
"""

import base64
import json
import struct
import time
import zlib
from collections.abc import Callable
from functools import partial

from extproc.bedrock.capability_table import BUILT_IN
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.sigv4 import Signer, model_path
from extproc.openai.chat import decode_request
from extproc.openai.chunks import ChunkEncoder
from extproc.openai.response_object import response_head
from extproc.translate.chat_request import plan
from extproc.translate.chat_sse import ChatSse
from extproc.translate.chat_stream import ChatStream
from extproc.translate.response_shape import ResponseShape
from extproc.translate.responses_events import ResponsesEncoder

ROUNDS = 7
MODEL = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
"""Of a family that takes few keywords at the root of a schema."""
SIGNER = Signer("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com")
IDENTITY = Credentials("AKIDEXAMPLE", "secret", "token" * 100)


def best(work: Callable[[], object], times: int) -> float:
    """µs of CPU per call, of the best round."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - start) / times * 1e6)
    return min(rounds)


def request(size: int) -> bytes:
    """A chat of about so many bytes: text up to 100 KB, and beyond that mostly an image."""
    text = "word " * (min(size, 100_000) // 5)
    content: object = text
    if size > 100_000:
        image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes((size - 100_000) * 3 // 4)).decode()
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
        content = [{"type": "text", "text": text}, part]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    return json.dumps({"model": MODEL, "messages": messages, "temperature": 0.5, "stream": True}).encode()


def with_tools(model: str) -> bytes:
    """A chat with ten tools whose schemas have about 2 KB each, as an agent sends them in every turn."""
    text = {"type": "string", "description": "What is meant by this argument, in some words, with an example of it."}
    properties = {f"argument_{at}": text for at in range(15)}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    tools = [
        {
            "type": "function",
            "function": {"name": f"tool_{at}", "parameters": {**schema, "required": [f"argument_{at}"]}},
        }
        for at in range(10)
    ]
    messages = [{"role": "user", "content": "Which of them do you call?"}]
    return json.dumps({"model": model, "messages": messages, "tools": tools, "stream": True}).encode()


def translate(body: bytes, model: str = MODEL) -> None:
    """Translate a request completely."""
    planned = plan(decode_request(body), BUILT_IN.of(model))
    path = model_path(model, "converse-stream")
    SIGNER.sign(IDENTITY, path, planned.body, (("content-type", "application/json"),), 1_790_000_000.0)


def frame(event: str, payload: object) -> bytes:
    """Return an event-stream message."""
    pairs = ((":event-type", event), (":content-type", "application/json"), (":message-type", "event"))
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in pairs
    )
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(block) + len(data), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + data
    return message + struct.pack(">I", zlib.crc32(message))


def chat_stream() -> ChatSse:
    """The translator of a streamed chat."""
    encoder = ChunkEncoder("chatcmpl-1", 1_790_000_000, MODEL, include_usage=False)
    return ChatSse(ChatStream(shape=ResponseShape()), encoder)


def responses_stream() -> ChatSse:
    """The translator of a streamed response of POST /responses."""
    head = response_head("resp_1", 1_790_000_000, MODEL, b'{"tools":[]}')
    encoder = ResponsesEncoder("1", head, {}, clock=time.time, summary=False, seal=None)
    return ChatSse(ChatStream(shape=ResponseShape(), itemised=True), encoder)


def streaming(together: int, new_stream: Callable[[], ChatSse] = chat_stream) -> Callable[[], object]:
    """Feeds one more delta a call, or `together` of them in one piece of bytes."""
    stream = new_stream()
    stream.feed(frame("messageStart", {"role": "assistant"}))
    delta = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " token"}, "p": "abcdefgh"})
    return lambda: stream.feed(delta * together)


def main() -> None:
    """Print the table."""
    print("request, decoded, planned and signed      µs     ns per byte")
    for size, times in ((1_000, 2000), (10_000, 1000), (100_000, 100), (1_000_000, 10), (10_000_000, 2)):
        body = request(size)
        cost = best(partial(translate, body), times)
        print(f"  {len(body):>10,} bytes                {cost:>10,.1f}  {cost * 1000 / len(body):>10.2f}")
    print("ten tools of 2 KB")
    for model in (MODEL, NOVA):
        body = with_tools(model)
        print(f"  {model:<34}{best(partial(translate, body, model), 500):>10,.1f}")
    for api, new_stream in (("a chat", chat_stream), ("Responses", responses_stream)):
        print(f"streamed frame of {api}")
        for together in (1, 20):
            cost = best(streaming(together, new_stream), 20_000 // together) / together
            print(f"  {together:>2} in one read                      {cost:>10.2f}")


if __name__ == "__main__":
    main()
