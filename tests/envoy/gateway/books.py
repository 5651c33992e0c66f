"""The books of a gateway: its ledger, its metrics and its budgets, and what the local Bedrock has billed.

`STORES` are the stores of budgets: one more is tested by one more row.
"""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.local_bedrock import LocalBedrock
from tests.redis.server import Redis
from tests.scrapes import scrape

NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-6"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
CHAT, RESPONSES, EMBEDDINGS = "chat/completions", "responses", "embeddings"

PRICES = {"input": 1000, "output": 2000, "cached": 100, "cache_write": 1250}
"""Micro-USD of a token, for all models."""

CLIENT = """
import http.client, sys
address, key, path, body = sys.argv[1:]
connection = http.client.HTTPConnection(address, timeout=60)
connection.request("POST", "/oai/v1/" + path, body, {"authorization": "Bearer " + key})
response = connection.getresponse()
while data := response.read1():
    print(data.decode(), flush=True)
"""
"""A client of its own process, which writes what it receives."""

Eventually = Callable[..., Any]


@dataclass(frozen=True)
class Sums:
    """What calls took: tokens by their kinds, and their cost."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(Sums)))

    @property
    def spent(self) -> dict[str, int]:
        """Return what a budget has of it."""
        return {"tokens": self.input_tokens + self.output_tokens, "usd": self.cost_micro_usd}


# Stores of budgets


class Sqlite:
    """The embedded store."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "spent.sqlite"
        self.settings: dict[str, Any] = {"budgets": {"sqlite": str(self._path)}}

    def _rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(query).fetchall()

    def spent(self) -> dict[str, int]:
        """Return what is spent of the organisation's budgets, by their units."""
        spent = {"tokens": 0, "usd": 0}
        for key, amount in self._rows("select key, spent from accounts"):
            spent[key.split(" ")[2]] += amount
        return spent

    def held(self) -> int:
        """Return what open calls hold."""
        return sum(held for (held,) in self._rows("select held from accounts"))

    def counted_at(self) -> float:
        """Return when the worker has last written what open calls have cost, in unix seconds."""
        return float(min((seen for (seen,) in self._rows("select seen from workers")), default=0))


class InRedis:
    """A real Redis."""

    def __init__(self, folder: Path) -> None:
        self.server = Redis(folder)
        self.settings: dict[str, Any] = {"redis": {"url": self.server.url, "timeout_ms": 250}}

    def _balances(self) -> Iterator[tuple[str, int, int]]:
        for key in self.server.send("KEYS", "{oai}:account:*"):
            spent, held = self.server.send("GET", key).split(" ")
            yield key.split(" ")[2], int(spent), int(held)

    def spent(self) -> dict[str, int]:
        """Return what is spent of the organisation's budgets, by their units."""
        spent = {"tokens": 0, "usd": 0}
        for unit, amount, _ in self._balances():
            spent[unit] += amount
        return spent

    def held(self) -> int:
        """Return what open calls hold."""
        return sum(held for _, _, held in self._balances())

    def counted_at(self) -> float:
        """Return when the worker has last written what open calls have cost, in unix seconds."""
        seen = self.server.send("ZRANGE", "{oai}:workers", "-1", "-1", "WITHSCORES")
        return int(seen[1]) / 1000 if seen else 0


STORES = {"sqlite": Sqlite, "redis": InRedis}
Store = Sqlite | InRedis


# Books


class Books:
    """The books of one gateway since a moment."""

    def __init__(self, gateway: Gateway, store: Store, local: LocalBedrock, eventually: Eventually) -> None:
        self.gateway, self.store, self.local = gateway, store, local
        self._eventually = eventually
        self._before = self._ledger(), self._metrics(), store.spent()
        self._lines = self.written()

    def written(self) -> int:
        """Return the number of lines in the ledger."""
        path = self.gateway.folder / "usage.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _ledger(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "extproc", "usage", "--format", "json", "--organisation", "acme"]
        command += ["--config", str(self.gateway.config_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        total: dict[str, Any] = json.loads(done.stdout)["total"]
        return total

    def _metrics(self) -> Sums:
        address = self.gateway.wait_for(r"health +http://(\S+)/healthz, and /metrics")[1]
        text = scrape(address)
        sums = dict.fromkeys((each.name for each in fields(Sums)), 0)
        for name, labels, value in re.findall(r"^envoy_oai_(\w+)_total\{(.*)\} (\d+)$", text, re.MULTILINE):
            kind = re.search(r'kind="(\w+)"', labels)
            field = f"{kind[1]}_tokens" if kind else name
            if 'organisation="acme"' in labels and field in sums:
                sums[field] += int(value)
        return Sums(**sums)

    def agreed(self, calls: int) -> tuple[Sums, int]:
        """Return what so many calls took, and how many of them are estimates, once all are over; all books have that.

        A call is over for the budgets when it holds nothing, and for the ledger when it has its line.
        """
        self._eventually(lambda: self.store.held() == 0 and self.written() - self._lines >= calls)
        ledger, metrics, _ = self._before
        after = self._ledger()
        took = _sums(after) - _sums(ledger)
        assert after["calls"] - ledger["calls"] == calls
        assert self._metrics() - metrics == took
        assert self.spent() == took.spent
        return took, after["estimated_calls"] - ledger["estimated_calls"]

    def spent(self) -> dict[str, int]:
        """Return what budgets have of the calls, once all are over."""
        self._eventually(lambda: self.store.held() == 0)
        return {unit: amount - self._before[2][unit] for unit, amount in self.store.spent().items()}

    def billed(self) -> Sums:
        """Return what the local Bedrock has billed."""
        bills = [call["billed"] for call in self.local.calls()]
        assert len(bills) < 190, "it has forgotten none"
        plain, read, written, output = (
            sum(bill.get(name, 0) for bill in bills)
            for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "outputTokens")
        )
        kinds = {"input": plain, "cached": read, "cache_write": written, "output": output}
        cost = sum(number * PRICES[kind] for kind, number in kinds.items())
        return Sums(plain + read + written, read, written, output, cost)


def _sums(total: Mapping[str, int]) -> Sums:
    return Sums(**{each.name: total[each.name] for each in fields(Sums)})


# Callers


def chat(text: str, model: str = NOVA, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@contextmanager
def caller(gateway: Gateway, path: str, body: Any) -> "Iterator[subprocess.Popen[str]]":
    """Run a client in a process of its own."""
    address = gateway.origin.removeprefix("http://")
    command = [sys.executable, "-c", CLIENT, address, gateway.tokens["ci"], path, json.dumps(body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def whole(gateway: Gateway, path: str, body: Any) -> Iterator[str]:
    """Return all that a client receives."""
    with caller(gateway, path, body) as process:
        yield process.communicate(timeout=60)[0]


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Read what a client receives as far as `text`."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"it has not received {text!r}")
