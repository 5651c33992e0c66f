"""Calls LiteLLM in a Python that is not the tests': a line of JSON in, a line of JSON out.

In: `{"function": "completion", "arguments": {…}}`. Out: what the function gives, as `{"answer": {…}}`; of a stream
`{"chunks": [{…}, …], "answer": {…}}`, which LiteLLM itself makes of the chunks; and where something is
raised, `"error": {"type": …, "status": …, "message": …}` beside the chunks that came before it.
"""

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it goes and fetches the newest prices

import litellm

litellm.suppress_debug_info = True


async def asynchronously(function: Any, arguments: dict[str, Any], chunks: list[Any]) -> Any:
    result = await function(**arguments)
    if not arguments.get("stream"):
        return result
    async for chunk in result:  # each by itself: what came before a failure is to be seen
        chunks.append(chunk)  # noqa: PERF401
    return None


def call(name: str, arguments: dict[str, Any], chunks: list[Any]) -> Any:
    """Return the function's result; of a stream, what LiteLLM makes of the `chunks` that it adds."""
    function = getattr(litellm, name)
    if asyncio.iscoroutinefunction(function):
        result = asyncio.run(asynchronously(function, arguments, chunks))
    else:
        result = function(**arguments)
        if arguments.get("stream"):
            chunks.extend(result)
    return litellm.stream_chunk_builder(chunks) if arguments.get("stream") else result


def reply(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    chunks: list[Any] = []
    outcome: dict[str, Any]
    try:
        outcome = {"answer": call(name, arguments, chunks).model_dump()}
    except Exception as error:
        status = getattr(error, "status_code", None)
        outcome = {"error": {"type": type(error).__name__, "status": status, "message": str(error)}}
    return {"chunks": [chunk.model_dump() for chunk in chunks], **outcome}


def main() -> None:
    replies = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # LiteLLM's own output is no reply
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(reply(request["function"], request["arguments"])), file=replies, flush=True)


main()
