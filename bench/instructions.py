"""Count the instructions of the worker for a streamed chat and for one frame of it, which no other load changes.

Run it as `make bench-instructions`; it needs valgrind. From an event of the exchange to the message for Envoy: without
sockets, HTTP/2 and the parsing of Envoy's messages. Each figure is the difference between 20 and 60 rounds, so what a
process does once is not in it.

Then come chats that are not streamed, and what limits add to one that are counted in memory, in SQLite and in a Redis
(`bench.limited_calls`): the difference between 100 and 300 rounds.

Decision: docs/decisions.md, D295.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench import limited_calls
from bench.steps import NOW, TOKEN, gateway
from bench.translation import frame, request
from extproc.exchange.directives import Body, Continue, Directive, Forward, Head
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.transport import messages

FEWER, MORE = 20, 60
SOME, MANY = 100, 300
"""Rounds of calls that are limited."""
SHORT, LONG = 1, 50
"""Frames with text of a stream, beside its beginning and its end."""

BODY = request(1000)
WHOLE = BODY.replace(b'"stream": true', b'"max_tokens": 50')
REQUEST = {
    ":method": "POST",
    ":path": "/oai/v1/chat/completions",
    "authorization": f"Bearer {TOKEN}",
    "content-type": "application/json",
    "content-length": str(len(BODY)),
    "x-request-id": "abc",
}
RESPONSE = {":status": "200", "content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "r"}
START = frame("messageStart", {"role": "assistant"})
DELTA = frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " token"}, "p": "abcdefgh"})
COUNTED = {"inputTokens": 3, "outputTokens": 200, "totalTokens": 203}
END = frame("messageStop", {"stopReason": "end_turn"}) + frame("metadata", {"usage": COUNTED})


def encode(directives: Iterable[Directive]) -> None:
    """Encode what a streamed chat leads to. Raises `TypeError` for anything else."""
    for directive in directives:
        if isinstance(directive, Body):
            messages.streamed(directive.data, directive.end_of_stream, directive.metadata)
        elif isinstance(directive, Forward):
            messages.forwarded(directive)
        elif isinstance(directive, Head):
            messages.head(directive)
        elif isinstance(directive, Continue):
            messages.stripped(directive.remove)
        else:
            raise TypeError(repr(directive)[:300])


def chats(rounds: int, frames: int) -> None:
    """Serve so many chats, one after the other, with so many frames each."""
    shared = gateway()
    for at in range(rounds):
        exchange, now = Exchange(shared, "id"), NOW + at / 1000
        encode(exchange.receive(RequestHeaders(REQUEST), now))
        encode(exchange.receive(RequestBody(BODY), now))
        encode(exchange.receive(ResponseHeaders(RESPONSE), now))
        for data in (START, *[DELTA] * frames):
            encode(exchange.receive(ResponseBody(data), now))
        encode(exchange.receive(ResponseBody(END, end_of_stream=True), now))
        exchange.close(NOW)


def counted(*arguments: object) -> int:
    """Return the instructions of a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command = [*callgrind, sys.executable, "-m", "bench.instructions", *map(str, arguments)]
        settled = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"}
        subprocess.run(command, check=True, capture_output=True, env=settled)
        return int(re.findall(r"^summary: (\d+)$", out.read_text(errors="replace"), re.MULTILINE)[0])


def main() -> None:
    """Print the figures."""
    if shutil.which("valgrind") is None:
        sys.exit("bench.instructions: needs valgrind, which is not installed")
    chat, long = [(counted(MORE, frames) - counted(FEWER, frames)) // (MORE - FEWER) for frames in (SHORT, LONG)]
    print(f"instructions: a streamed chat of one frame {chat:,}, one more frame {(long - chat) // (LONG - SHORT):,}")
    without = whole(limited_calls.NONE)
    print(f"a whole chat without limits {without:,}; more with limits that are counted in")
    for name in (limited_calls.MEMORY, limited_calls.SQLITE, limited_calls.REDIS):
        print(f"  {name:<8}{whole(name) - without:>10,}")


def whole(name: str) -> int:
    """Return the instructions for a chat that is not streamed, by where its caller's limits are counted."""
    return (counted(MANY, name) - counted(SOME, name)) // (MANY - SOME)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[2].isdecimal():
        limited_calls.serve(int(sys.argv[1]), sys.argv[2], REQUEST, WHOLE)
    elif len(sys.argv) > 1:
        chats(int(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
