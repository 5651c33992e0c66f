"""Measure what rate limits and the running usage cost: the worker's CPU time, and its memory with many organisations.

Run it as `make bench-limits`. One run prints, each beside its aim:

- the CPU time of a worker per request and per streamed frame without limits, and what limits add that are counted in
  memory, in SQLite and in a Redis: four gateways behind an Envoy each, window by window in random order. Differences
  are made within a round;
- what telling Envoy of the running usage adds to a frame: CPU time of a process of its own, beside the same frames
  without it;
- the memory of a worker with 10,000 organisations, each of which has called, with limits and without.

Every caller is limited twice, as its organisation and as its token, and no limit is ever reached.

Decision: docs/decisions.md, D259.
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bench import processes, stacks
from bench.calls import call
from bench.measuring import Meter
from bench.spread import differences, spread
from bench.stacks import SERVICE, Place, Stack
from bench.workloads import Workload
from extproc.bedrock.prices import prices
from extproc.exchange import meter
from extproc.exchange.responses import TELL_EVERY
from extproc.telemetry.record import Record
from extproc.tenancy.api_keys import digest
from extproc.transport import messages

NEVER_REACHED = 1_000_000_000
LIMITS = dict.fromkeys(("requests_per_minute", "tokens_per_minute", "concurrent_streams"), NEVER_REACHED)
WITHOUT, MEMORY, SQLITE, REDIS = "without limits", "limits in memory", "limits in SQLite", "limits in a Redis"

UNPACKED = Path(tempfile.gettempdir()) / "engine" / "redis" / "usr"
"""Where make has a Redis unpacked."""

FRAMES = 2_000
FRAME = b'data: {"id":"chatcmpl-0","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
CHARACTERS = 6
"""Of the model's, in such a frame."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: rounds, ms of a window, repetitions, organisations and how fast they call."""

    rounds: int = 7
    window: int = 3_000
    repetitions: int = 200
    organisations: int = 10_000
    rate: int = 1_000
    starts: int = 2


SMALL = Size(rounds=2, window=1_000, repetitions=3, organisations=20, rate=20, starts=1)
"""To see that the benchmark works, not to measure."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run for some seconds, to see that it works")
    parser.add_argument("--running", action="store_true", help="measure the running usage alone, in this process")
    parser.add_argument(
        "--stack", choices=stacks.gateways(), default=stacks.transports()[0], help="the gateway's build"
    )
    options = parser.parse_args()
    size = SMALL if options.smoke else Size()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if options.running:
        running(size)
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
        place = Place(Path(folder), exits)
        upstream = stacks.start_upstream(place).process.pid
        worker_time(place, options.stack, Meter(place.folder, upstream), size)
        start_running(place, options.stack, options.smoke)
        memory(place, options.stack, size)


def worker_time(place: Place, build: str, measuring: Meter, size: Size) -> None:
    """Print the CPU time of a worker without limits, and what limits add."""
    chat = Workload("chat", "chat", 1, window=size.window)
    stream = replace(chat, name="stream", operation="stream", frames=200)
    with ExitStack() as exits:
        inner = place.within(exits)
        limits: dict[str, dict[str, Any]] = {WITHOUT: {}, MEMORY: limited(), SQLITE: limited(place.path("rates"))}
        if (url := start_redis(inner)) is not None:
            limits[REDIS] = {**limited(), "redis": {"url": url, "timeout_ms": 250}}
        started = {name: stacks.gateway(inner, build, settings(place, 1, more)) for name, more in limits.items()}
        print(f"CPU time of a worker, {size.rounds} rounds of {size.window / 1000:g} s (aim: no more than 60 µs more)")
        for workload, unit in ((chat, "request"), (stream, "frame")):
            times, middles = measured(started, workload, measuring, size.rounds)
            print_times(unit, times)
            if unit == "request":
                print("\np50 of a call in ms, the median of rounds (aim in a Redis: no more than 0.5 more)")
                for name, each in middles.items():
                    print(f"  {name:<22}{statistics.median(each):>10.2f}")


def measured(
    started: dict[str, Stack], workload: Workload, measuring: Meter, rounds: int
) -> tuple[dict[str, dict[int, float]], dict[str, list[float]]]:
    """Return µs of the worker per unit, by gateway and round, and the p50 of latencies in ms of each round."""
    times: dict[str, dict[int, float]] = {name: {} for name in started}
    middles: dict[str, list[float]] = {name: [] for name in started}
    for number in range(rounds):
        for name in random.sample(list(started), len(started)):
            sample = measuring.measure(started[name], workload, number)
            if sample.failed:
                raise stacks.StackError(f"{name}: {sample.errors} {sample.complaint}")
            middles[name].append(sample.latency.p50)
            cpu = sample.cpu(SERVICE)
            if cpu is not None:
                times[name][number] = cpu
    return times, middles


def start_redis(place: Place) -> str | None:
    """Start a Redis, and return its URL; None where there is none."""
    program = shutil.which("redis-server") or shutil.which("redis-server", path=str(UNPACKED / "bin"))
    if program is None:
        print(f"no Redis is in PATH or in {UNPACKED}: {REDIS} are not measured")
        return None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    libraries = ":".join(map(str, (UNPACKED / "lib").glob("*-linux-gnu")))
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(place.folder)]
    running = place.start(command, "redis", {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries})
    running.wait("redis-server", lambda output: "Ready to accept connections" in output)
    return f"redis://127.0.0.1:{port}"


def print_times(unit: str, times: dict[str, dict[int, float]]) -> None:
    """Print a row for each gateway."""
    print(f"\n{'per ' + unit:<24}{'µs':>10}{'more, µs':>12}  from, to")
    for name, by_round in times.items():
        middle = spread(by_round.values())
        more = spread(differences(by_round, times[WITHOUT]).values())
        if middle is None or more is None:
            print(f"{name:<24}{'-':>10}  no round in which this and the first were answered")
            continue
        added = "" if name == WITHOUT else f"{more.median:>12.2f}  {more.min:.2f}, {more.max:.2f}"
        print(f"{name:<24}{middle.median:>10.2f}{added}")


def start_running(place: Place, build: str, smoke: bool) -> None:
    """Have `running` measured in a process with the gateway's build."""
    env = stacks.environment(place.upstream) | stacks.python_of(build)
    env["PYTHONPATH"] = ":".join(filter(None, [env.get("PYTHONPATH"), str(Path(__file__).parent.parent)]))
    command = [sys.executable, "-m", "bench.limits", "--running", *(["--smoke"] if smoke else [])]
    subprocess.run(command, env=env, check=True, timeout=300)


def running(size: Size) -> None:
    """Print what the running usage adds to a frame, and how often it is told."""
    without: list[float] = []
    told: list[float] = []
    for _ in range(size.repetitions):
        for tell, times in random.sample(((False, without), (True, told)), 2):
            times.append(frames(tell))
    more = min(told) - min(without)
    print(f"\nrunning usage: {more:.2f} µs a frame more (aim: 1), on {min(without):.2f} for its message")
    print(
        f"  ({CHARACTERS} characters a frame, told each {TELL_EVERY}; the least of {size.repetitions} repetitions each)"
    )


def frames(tell: bool) -> float:
    """Return the µs for a frame of a stream: its message for Envoy, with the running usage where that is due."""
    counted = meter.Meter(Record("id", bedrock_model="model"), 0.0)
    counted.choose(prices(3.0, 15.0))
    counted.estimate(1)
    counted.changes()
    due = 1
    began = time.process_time_ns()
    for number in range(1, FRAMES + 1):
        metadata = None
        if tell and number * CHARACTERS >= due:
            due = number * CHARACTERS + TELL_EVERY
            metadata = counted.running(number * CHARACTERS, 1.0)
        messages.streamed(FRAME, False, metadata)
    return (time.process_time_ns() - began) / FRAMES / 1000


def memory(place: Place, build: str, size: Size) -> None:
    """Print the memory of a worker whose organisations have limits, beside one whose organisations have none."""
    held: dict[bool, dict[int, float]] = {False: {}, True: {}}
    for number in range(size.starts):
        for with_limits in random.sample((False, True), 2):
            held[with_limits][number] = resident(place, build, size, with_limits)
    more = spread(differences(held[True], held[False]).values())
    middle = {limits: spread(by_start.values()) for limits, by_start in held.items()}
    assert more is not None
    print(f"\nmemory with {size.organisations:,} organisations that have called, {size.starts} starts each")
    for limits, each in middle.items():
        assert each is not None
        print(f"{MEMORY if limits else WITHOUT:<24}{each.median:>10.1f} MB")
    print(f"limits take {more.median:.1f} MB more ({more.min:.1f} to {more.max:.1f}; aim: 40)")


def resident(place: Place, build: str, size: Size, with_limits: bool) -> float:
    """Return the MB of a worker that each of its organisations has called."""
    own = {"limits": LIMITS} if with_limits else {}
    with ExitStack() as exits:
        inner = place.within(exits)
        stack = stacks.gateway(inner, build, settings(place, size.organisations, {}, own))
        everyone(inner, stack, size)
        return processes.memory(processes.family(stack.processes[SERVICE])).rss


def everyone(place: Place, stack: Stack, size: Size) -> None:
    """Have every organisation call at least once; they use one token. There is time for two rounds of them."""
    seconds = 2 * size.organisations / size.rate
    wire = call(Workload("chat", "chat", 1), "openai", stack.prefix).wire(stack.port, stack.token)
    head = b"openai-organization: {token}\r\nuser-agent:"
    request = place.path("request")
    request.write_bytes(wire.replace(b"user-agent:", head, 1))
    names = place.path("names")
    names.write_text("\n".join(organisations(size.organisations)))
    numbers = (stack.port, request, names, size.rate, 8, seconds)
    command = [sys.executable, "-m", "bench.callers", *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=seconds + 120)
    result = json.loads(done.stdout)
    if result["sent"] < size.organisations or set(result["statuses"]) != {"200"}:
        raise stacks.StackError(f"not every organisation's call has succeeded: {result}")


def organisations(count: int) -> Iterator[str]:
    """Yield so many names."""
    return (f"org-{number}" for number in range(count))


def limited(file: Path | None = None) -> dict[str, Any]:
    """Return `rate_limits` for everybody, counted in a file or in memory."""
    sqlite = {} if file is None else {"sqlite": str(file)}
    return {"rate_limits": {"organisation": LIMITS, "token": LIMITS, **sqlite}}


def settings(place: Place, count: int, more: dict[str, Any], own: dict[str, Any] | None = None) -> Path:
    """Return a gateway.yaml with so many organisations, each with the keys `own`, and one token of them all."""
    names = list(organisations(count))
    token = {"name": "bench", "sha256": digest(stacks.TOKEN), "organisations": names}
    path = place.path("gateway.yaml")
    whole = {"region": stacks.REGION, "organisations": dict.fromkeys(names, own or {}), "tokens": [token], **more}
    dumper = type("Plain", (yaml.CSafeDumper,), {"ignore_aliases": lambda self, data: True})
    path.write_text(yaml.dump(whole, Dumper=dumper))
    return path


if __name__ == "__main__":
    main()
