"""`python -m tests.chaos.soak`: a mixed load for some minutes, and whether memory, descriptors and latency stay flat.

Callers of each kind take turns, at a rate that leaves the machine idle most of the time: what is looked for is what
grows. The figures are written as JSON; the exit code is 1 where one of them grows, or a call ends in another way than
it must.
"""

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import Gateway, Starter

MODEL = "amazon.nova-micro-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
PROGRAMS = {"Envoy": "envoy -c", "worker": "extproc.worker.command"}
THREADS = 4
PAUSE = 0.1
"""Seconds between two calls of a thread, on average."""
DEADLINE = 60.0

Body = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of call: the request, and the outcomes that are allowed."""

    method: str
    path: str
    body: Body | None
    status: int
    leaves: bool = False
    """After the first bytes of the response."""
    token: str = "ci"


def chat(text: str, **fields: Any) -> Body:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


CHAT = "chat/completions"
KINDS: Mapping[str, Kind] = {
    "chat": Kind("POST", CHAT, chat("Hello!"), 200),
    "stream": Kind("POST", CHAT, chat("Count to 20.", stream=True), 200),
    "large body": Kind("POST", CHAT, chat("Hello! " + "x" * 200_000), 200),
    "embedding": Kind("POST", "embeddings", {"model": TITAN, "input": "a"}, 200),
    "embeddings": Kind("POST", "embeddings", {"model": TITAN, "input": ["a", "b", "c"]}, 200),
    "models": Kind("GET", "models", None, 200),
    "leaver": Kind("POST", CHAT, chat("Count to 9. [[local: pace=0.2]]", stream=True), 200, leaves=True),
    "bad request": Kind("POST", CHAT, chat("Hello!", n=2), 400),
    "no such model": Kind("POST", CHAT, {**chat("Hello!"), "model": "no.such-model"}, 404),
    "throttled": Kind("POST", CHAT, chat("[[local: status=429]] Hello!"), 429),
    "failing stream": Kind("POST", CHAT, chat("[[local: cut after=3]] Hello!", stream=True), 200),
    "bad token": Kind("GET", "models", None, 401, token="expired"),
}


@dataclass(frozen=True)
class Sample:
    """A sample of one interval."""

    seconds: float
    memory: dict[str, int]
    """Resident bytes, by program."""
    descriptors: dict[str, int]
    latency: float
    """Median of the buffered chat calls in the interval, in milliseconds."""


@dataclass
class MixedLoad:
    """State that the threads share."""

    gateway: Gateway
    end: float
    calls: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seed: int) -> None:
        """Make calls until the end."""
        choice = random.Random(seed)
        while time.monotonic() < self.end:
            name = choice.choice([*KINDS])
            since = time.monotonic()
            try:
                status = call(self.gateway, KINDS[name])
            except (OSError, http.client.HTTPException) as error:
                status = -1 if name == "failing stream" else 0
                problem = f"{name}: {error!r}"
            else:
                problem = f"{name}: {status}"
            with self.lock:
                self.calls[name] += 1
                if name == "chat":
                    self.latencies.append((time.monotonic() - since) * 1000)
                if status not in (KINDS[name].status, -1):
                    self.unexpected.append(problem)
            time.sleep(choice.random() * 2 * PAUSE)


def call(gateway: Gateway, kind: Kind) -> int:
    """Make one call on a connection of its own, read it to the end, and return its status."""
    host, _, port = gateway.origin.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE)
    try:
        body = None if kind.body is None else json.dumps(kind.body)
        headers = {"authorization": f"Bearer {gateway.tokens[kind.token]}"}
        connection.request(kind.method, f"/oai/v1/{kind.path}", body, headers)
        response = connection.getresponse()
        if kind.leaves:
            response.read1(10)
            return response.status
        text = response.read()
        streams = response.status == 200 and kind.body is not None and kind.body.get("stream")
        if streams and b"[DONE]" not in text and b'"error"' not in text:
            raise http.client.IncompleteRead(text)
        return response.status
    finally:
        connection.close()


def sample(load: MixedLoad, started: float) -> Sample:
    """Read the memory and the descriptors of each program, and take the latencies since the last sample."""
    memory, descriptors = dict[str, int](), dict[str, int]()
    for name, program in PROGRAMS.items():
        folders = [Path(f"/proc/{pid}") for pid in load.gateway.pids(program)]
        memory[name] = sum(int((one / "statm").read_text().split()[1]) * 4096 for one in folders)
        descriptors[name] = sum(len(list((one / "fd").iterdir())) for one in folders)
    with load.lock:
        latencies, load.latencies = load.latencies, []
    median = round(statistics.median(latencies), 1) if latencies else 0.0
    return Sample(round(time.monotonic() - started, 1), memory, descriptors, median)


def soak(starter: Starter, seconds: float, interval: float) -> dict[str, Any]:
    """Run the load, and return its figures."""
    gateway = starter({"workers": 1})
    started = time.monotonic()
    load = MixedLoad(gateway, started + seconds)
    threads = [threading.Thread(target=load.run, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    samples = []
    while time.monotonic() < load.end:
        time.sleep(min(interval, max(0.0, load.end - time.monotonic())))
        samples.append(sample(load, started))
    for thread in threads:
        thread.join(DEADLINE * 2)
    return {
        "seconds": round(time.monotonic() - started),
        "calls": dict(sorted(load.calls.items())),
        "unexpected": load.unexpected[:20],
        "samples": [asdict(one) for one in samples],
    }


def growth(samples: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return each figure's median in the second quarter and in the last: the first quarter warms up."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    reads: dict[str, Callable[[Mapping[str, Any]], float]] = {"latency": lambda one: float(one["latency"])}
    for name in PROGRAMS:
        reads[f"memory of {name}"] = lambda one, name=name: float(one["memory"][name])  # type: ignore[misc]
        reads[f"descriptors of {name}"] = lambda one, name=name: float(one["descriptors"][name])  # type: ignore[misc]
    return {
        description: (statistics.median(map(read, early)), statistics.median(map(read, late)))
        for description, read in reads.items()
    }


def grows(figures: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the figures that are not flat: memory by a tenth and 8 MiB, descriptors by 30, latency by a half."""
    rules = {"memory": (1.1, 8 << 20), "descriptors": (1.0, 30), "latency": (1.5, 5)}
    growing = []
    for description, (early, late) in figures.items():
        factor, slack = rules[description.split()[0]]
        if late > early * factor + slack:
            growing.append(f"{description}: {early:g} -> {late:g}")
    return growing


def main() -> None:
    """Run, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--interval", type=float, default=10)
    parser.add_argument("--output", type=Path, default=Path(".run/soak.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        starter = Starter(Path(folder))
        try:
            figures = soak(starter, options.seconds, options.interval)
        finally:
            starter.end()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures, indent=1) + "\n")
    faults = [*figures["unexpected"], *grows(growth(figures["samples"]))]
    print(f"{sum(figures['calls'].values())} calls in {figures['seconds']} s, {len(faults)} faults", *faults, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
