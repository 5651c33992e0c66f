"""Callers of a gateway that go on while something is done to it; every call is counted, and every failure by kind.

    python -m tests.kubernetes.load http://127.0.0.1:8080/oai/v1 TOKEN --seconds 20

There are three kinds of callers: `kept` send each call on the connection of the last one, `fresh` on a connection of
its own, and `streams` read responses of several seconds on a kept connection. Their number is fixed, each has one call
at a time and pauses between two, so the load is bounded. A call counts as lost unless its whole response arrived.
"""

import argparse
import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

NOVA = "amazon.nova-micro-v1:0"
WORDS = 15
STREAM_SECONDS = 6.0
STREAMED = " ".join(f"word{number}" for number in range(WORDS)) + f" [[local: pace={STREAM_SECONDS / WORDS}]]"
"""The request of a streaming caller: its response takes `STREAM_SECONDS` or a little more."""

PAUSE_SECONDS = 0.05
TIMEOUT_SECONDS = 60.0
LATEST_SECONDS = 300.0
"""Longest wait for the callers to have made a call."""

KINDS = {"kept": 4, "fresh": 4, "streams": 3}
"""Number of callers of each kind."""


class LostError(Exception):
    """A call whose response is not what the caller is owed; the message is the kind of failure."""


@dataclass
class Phase:
    """The calls that began between two moments: how many, how many of them are over, and the failures by kind."""

    began: Counter[str] = field(default_factory=Counter)
    over: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    tokens: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Return how many calls are over."""
        return self.over.total()


class Load:
    """The callers, in a thread with an event loop of its own, from `with` to the end of it."""

    def __init__(self, url: str, token: str, kinds: dict[str, int] | None = None) -> None:
        self.token = token
        self._url = url
        self._kinds = KINDS if kinds is None else kinds
        self._phase = self._all = Phase()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_SECONDS + 10)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def phase(self) -> Iterator[Phase]:
        """The calls that begin from here to the end of the block; it ends when all of them are over."""
        phase = self._phase = Phase()
        yield phase
        self.goes_on()
        self._phase = Phase()
        self._until(lambda: phase.began == phase.over, "calls are still open")

    def goes_on(self) -> None:
        """Wait until callers of every kind have begun another call."""
        phase = self._phase
        wanted = {kind: phase.began[kind] + 1 for kind, count in self._kinds.items() if count}
        self._until(lambda: all(phase.began[kind] >= count for kind, count in wanted.items()), "no calls are made")

    def _until(self, condition: Any, otherwise: str) -> None:
        end = time.monotonic() + LATEST_SECONDS
        while not condition():
            assert self._thread.is_alive(), self._failure
            assert time.monotonic() < end, f"{otherwise}: {self._phase}"
            time.sleep(0.02)

    def _run(self) -> None:
        try:
            asyncio.run(self._callers())
        except BaseException as error:
            self._failure = error

    async def _callers(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, count in self._kinds.items():
                for index in range(count):
                    group.create_task(self._caller(kind, index * STREAM_SECONDS / count if kind == "streams" else 0))

    async def _caller(self, kind: str, delay: float) -> None:
        """Call after call; a kept connection is replaced only when the server has closed it."""
        await asyncio.sleep(delay)
        client = new_client()
        while not self._stop.is_set():
            if kind == "fresh":
                await client.aclose()
                client = new_client()
            phase = self._phase
            phase.began[kind] += 1
            try:
                await (streamed if kind == "streams" else plain)(client, self._url, self.token)
            except LostError as error:
                phase.failures[f"{kind}: {error}"] += 1
            except httpx.HTTPError as error:
                phase.failures[f"{kind}: {type(error).__name__}: {error}"] += 1
            phase.over[kind] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        await client.aclose()


def new_client() -> httpx.AsyncClient:
    """Return a client that has one connection at most, and never retries."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)
    return httpx.AsyncClient(timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False)


def request(client: httpx.AsyncClient, url: str, token: str, content: str, **more: object) -> httpx.Request:
    """Return a chat request with this text."""
    body = {"model": NOVA, "messages": [{"role": "user", "content": content}], **more}
    return client.build_request(
        "POST", f"{url}/chat/completions", json=body, headers={"authorization": f"Bearer {token}"}
    )


async def plain(client: httpx.AsyncClient, url: str, token: str) -> None:
    """Make a call without streaming; raises `LostError`."""
    response = await client.send(request(client, url, token, "Hello!"))
    check(response, response.text)
    if "Hello!" not in response.text:
        raise LostError("another message")


async def streamed(client: httpx.AsyncClient, url: str, token: str) -> None:
    """Make a streaming call of some seconds; raises `LostError`."""
    response = await client.send(request(client, url, token, STREAMED, stream=True), stream=True)
    try:
        if response.status_code != 200:
            check(response, (await response.aread()).decode())
        text, done = "", False
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise LostError(f"the stream ends in an error, {chunk['error'].get('code')}")
                text += "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
            done = done or line == "data: [DONE]"
        if not done:
            raise LostError("the stream has no end")
        if f"word{WORDS - 1}" not in text:
            raise LostError("the stream lacks its last word")
    finally:
        await response.aclose()


def check(response: httpx.Response, text: str) -> None:
    """Raise `LostError` unless the status is 200; the code in OpenAI's error is part of the kind."""
    if response.status_code == 200:
        return
    try:
        code = json.loads(text)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = text[:60]
    raise LostError(f"{response.status_code} {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Call a gateway for a while, and print what became of the calls.")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    with Load(arguments.url, arguments.token) as load, load.phase() as phase:
        time.sleep(arguments.seconds)
    print(f"calls {phase.calls} ({dict(phase.over)}), lost {phase.failures.total()}", *phase.failures.items(), sep="\n")


if __name__ == "__main__":
    main()
