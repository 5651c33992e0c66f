"""Measure the stores of tokens: the file with many, and a DynamoDB table behind a gateway, with misses and a flood.

Run it as `make bench-directory`. One run prints, each beside its aim:

- the file store (`bench.tokens`): the start, memory and a lookup with 100,000 tokens, in CPU time;
- a hit in the table's cache: all of the authentication, in CPU time;
- `GET /models`, 160 models with ten aliases: in the code, and of the gateway through Envoy;
- callers with known tokens, through Envoy and the gateway, while tokens that it has not met are looked up, and without
  these, window by window in random order. Ratios are made within a round;
- the same callers, and the memory of the gateway and Envoy, during floods of random tokens (`flood.c`) and without:
  from one address beyond `limits.address_requests_per_second`, and from one without that limit.

The table is dynalite's, on the same machine, and so are the callers and the flood. The flood has the lowest priority,
because on a network its processors are not the gateway's: it takes what is left, and the rate that it reached is
printed. Envoy has a thread a core, as `up` gives it. Latencies are those of callers at a rate (`callers.py`).

Decisions: docs/decisions.md, D225, D291.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import model_lists, native, processes, stacks, tokens
from bench.calls import call
from bench.spread import ratios, spread
from bench.stacks import ENVOY, SERVICE, Place, Stack
from bench.workloads import Workload
from extproc import config
from extproc.config.items import organisation_item, token_item
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import Directory
from extproc.tenancy.table_store import TableStore
from tests.dynamodb import server

TABLE = "bench"
CHAT = Workload("chat", "chat", 1)
KNOWN = 100
"""Tokens of the callers whose latency is measured."""
CONNECTIONS = 16
ROLES = (SERVICE, ENVOY)
PER_ADDRESS = 20
"""Requests a second that an address may send, where it has a limit: three times what each known caller sends."""
BATCH = 25
"""Items of one BatchWriteItem."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: tokens, requests a second, seconds, rounds."""

    file_tokens: int = 100_000
    callers: int = 100
    misses: int = 100
    window: float = 10.0
    rounds: int = 5
    flood: int = 10_000
    flood_seconds: float = 30.0
    flood_connections: int = 64
    flood_rounds: int = 3


SMALL = Size(
    file_tokens=2_000, callers=20, misses=20, window=1.0, rounds=2, flood=200, flood_seconds=2.0, flood_rounds=1
)
"""To see that the benchmark works, not to measure."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="run for some seconds, to see that it works")
    parser.add_argument("--floods", action="store_true", help="measure the floods alone")
    parser.add_argument(
        "--stack", choices=stacks.gateways(), default=stacks.transports()[0], help="the gateway's build"
    )
    options = parser.parse_args()
    size = SMALL if options.smoke else Size()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if not options.floods:
        file_store(size)
        print(f"\na hit in the table's cache: {hit(1_000 if options.smoke else 100_000):.2f} µs (aim: 5)")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exits:
        stacks.start_upstream(place := Place(Path(folder), exits, threads=os.cpu_count() or 1))
        port = exits.enter_context(server.dynalite())
        strangers = [stranger(number) for number in range(round(size.misses * size.window * (size.rounds + 1)))]
        fill(port, [tokens.token(number) for number in range(KNOWN)] + strangers)
        if not options.floods:
            run = started(place, options.stack, port, size)
            lists(run)
            misses(run, strangers)
        for per_second in (None, PER_ADDRESS):
            with ExitStack() as ends:
                flood(started(place.within(ends), options.stack, port, size, per_second), per_second)


def started(place: Place, stack: str, port: int, size: Size, per_second: int | None = None) -> "Run":
    """Start a gateway whose tokens are in the table at `port`, and have it meet the known callers."""
    environment = server.environment(f"http://127.0.0.1:{port}")
    run = Run(place, stacks.gateway(place, stack, settings(place, per_second), environment), size)
    run.warm_up()
    return run


def file_store(size: Size) -> None:
    """Print the table of `bench.tokens`."""
    print("the file store (aims: 3 s, 5 µs)")
    subprocess.run([sys.executable, "-m", "bench.tokens", "--tokens", str(size.file_tokens)], check=True, timeout=900)


def hit(count: int) -> float:
    """Return the µs of an authentication whose token and organisation are in the table's cache."""
    store = TableStore(lambda key: None)
    for entry in tokens.entries(range(KNOWN)):
        token = config.Token(name=str(entry["name"]), sha256=str(entry["sha256"]), organisations=("bench",))
        store.put(f"token#{token.sha256}", token, 150, 1e9)
    store.put("org#bench", config.Organisation(), 100, 1e9)
    directory = Directory(config.Settings(), store)
    headers = [f"Bearer {tokens.token(number % KNOWN)}" for number in range(count)]
    return tokens.best(lambda header: directory.authenticate(header, None, 1e9 + 1), headers)


def stranger(number: int) -> str:
    """Return a token of the table that the gateway has not met."""
    return f"qc_stranger{number:034}"


def fill(port: int, secrets: Sequence[str]) -> None:
    """Make the table, with one organisation, which has rules and aliases, and these tokens."""
    client = server.client(port)
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    items = [organisation_item("bench", model_lists.OWN)]
    for number, secret in enumerate(secrets):
        items.append(token_item(config.Token(name=f"t{number}", sha256=digest(secret), organisations=("bench",))))
    for start in range(0, len(items), BATCH):
        puts = [
            {"PutRequest": {"Item": {name: {"S": text} for name, text in item.items()}}}
            for item in items[start : start + BATCH]
        ]
        client.batch_write_item(RequestItems={TABLE: puts})


def settings(place: Place, per_second: int | None) -> Path:
    """Return a gateway.yaml that names the table, and the limit of an address."""
    path = place.path("gateway.yaml")
    table = {"region": stacks.REGION, "directory": {"dynamodb": {"table": TABLE}}}
    limits = {} if per_second is None else {"limits": {"address_requests_per_second": per_second}}
    path.write_text(yaml.safe_dump(table | limits))
    return path


@dataclass(frozen=True, slots=True)
class Run:
    """A gateway, and what is sent to it."""

    place: Place
    stack: Stack
    size: Size

    @contextmanager
    def callers(
        self, rate: float, seconds: float, secrets: Sequence[str], *, chat: bool = True
    ) -> Iterator[list[dict[str, Any]]]:
        """Have a program call at `rate` meanwhile; afterwards the list has its figures."""
        file = self.place.path("tokens")
        file.write_text("\n".join(secrets))
        numbers = (self.stack.port, self.request(chat=chat), file, rate, CONNECTIONS, seconds)
        with self._meanwhile([sys.executable, "-m", "bench.callers", *map(str, numbers)], seconds) as results:
            yield results

    @contextmanager
    def flooded(self, seconds: float) -> Iterator[list[dict[str, Any]]]:
        """Have a flood of random tokens from one address meanwhile, at the lowest priority, likewise."""
        numbers = (self.stack.port, self.request(chat=False), self.size.flood, self.size.flood_connections, seconds)
        command = [str(native.program("flood")), *map(str, numbers), "1", "keep"]
        with self._meanwhile(command, seconds, preexec=_last_of_all) as results:
            yield results

    def request(self, *, chat: bool) -> Path:
        """Return a file with a request, in which `{token}` stands for the token."""
        path = self.place.path("request")
        wire = call(CHAT if chat else Workload("models", "models", 1), "openai", self.stack.prefix)
        path.write_bytes(wire.wire(self.stack.port, "{token}"))
        return path

    @contextmanager
    def _meanwhile(
        self, command: Sequence[str], seconds: float, preexec: Callable[[], None] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        results: list[dict[str, Any]] = []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=preexec)
        try:
            yield results
            output, _ = process.communicate(timeout=seconds + 120)
            results.append(json.loads(output))
        finally:
            process.kill()
            process.wait()

    def known(self, seconds: float, *, chat: bool = True) -> dict[str, Any]:
        """Return the figures of callers with known tokens."""
        secrets = [tokens.token(number) for number in range(KNOWN)]
        with self.callers(self.size.callers, seconds, secrets, chat=chat) as results:
            pass
        return results[0]

    def warm_up(self) -> None:
        """Have every known token looked up."""
        self.known(max(self.size.window, KNOWN / self.size.callers + 1))

    def list_request(self) -> urllib.request.Request:
        """Return a request for the list of models, with a known token."""
        url = f"http://127.0.0.1:{self.stack.port}{self.stack.prefix}/models"
        return urllib.request.Request(url, headers={"authorization": f"Bearer {tokens.token(0)}"})

    def cpu_ns(self) -> int:
        """Return the CPU time of the gateway's processes but Envoy's, so far."""
        return processes.cpu_ns(processes.family(self.stack.processes[SERVICE]))

    def memory(self, role: str) -> processes.Memory:
        """Return the memory of the processes of this role."""
        return processes.memory(processes.family(self.stack.processes[role]))


def _last_of_all() -> None:
    """Give this process the lowest priority: its niceness, and that of its group, by which Linux compares sessions."""
    os.setsid()
    os.nice(19)
    with suppress(OSError):  # a kernel without such groups
        Path("/proc/self/autogroup").write_text("19")


def lists(run: Run) -> None:
    """Print what a list of models costs: in this process, in the gateway's, and until its callers have it."""
    size = run.size
    code = model_lists.measure(stacks.REGION, 10 if size is SMALL else 1_000)
    print(
        f"\nGET /models, in the code: {code.models} entries, {code.further:.0f} µs; the first one {code.first:.0f} µs"
    )
    with urllib.request.urlopen(run.list_request(), timeout=30) as response:  # noqa: S310 - of this machine
        count = model_lists.entries(response.read())
    found, costs = [], []
    for _ in range(size.rounds):
        start = run.cpu_ns()
        time.sleep(size.window)  # what the gateway does by itself is no list's
        before = run.cpu_ns()
        found.append(run.known(size.window, chat=False))
        costs.append((run.cpu_ns() - before - (before - start)) / found[-1]["sent"] / 1e3)
    print(
        f"the same through Envoy, {count} entries, {size.callers} a second, {size.rounds} rounds of {size.window:g} s"
    )
    print(f"{'':<34}{'p50, ms':>10}{'p99, ms':>10}  statuses")
    print_row("lists of models", found)
    spent = spread(costs)
    assert spent is not None
    print(f"CPU of the worker for a list: {spent.median:.0f} µs ({spent.min:.0f} to {spent.max:.0f}; aim: 1,000)")


def misses(run: Run, strangers: Sequence[str]) -> None:
    """Print the latencies of known callers without misses and with them."""
    size = run.size
    unused = iter(strangers)
    quiet: dict[int, dict[str, Any]] = {}
    beside: dict[int, dict[str, Any]] = {}
    looked_up: list[dict[str, Any]] = []
    for number in range(size.rounds):
        for with_misses in random.sample((False, True), 2):
            if not with_misses:
                quiet[number] = run.known(size.window)
                continue
            fresh = [next(unused) for _ in range(round(size.misses * size.window))]
            with run.callers(size.misses, size.window, fresh) as results:
                beside[number] = run.known(size.window)
            looked_up += results
    print(f"\n{size.callers} calls a second with known tokens, {size.rounds} rounds of {size.window:g} s")
    print(f"{'':<34}{'p50, ms':>10}{'p99, ms':>10}  statuses")
    print_row("without misses", list(quiet.values()))
    print_row(f"beside {size.misses} misses a second", list(beside.values()))
    print_row("the misses themselves", looked_up)
    p99 = ratios(*[{number: each["p99"] for number, each in rows.items()} for rows in (beside, quiet)])
    found = spread(p99.values())
    assert found is not None
    print(f"p99 beside misses, over without: {found.median:.2f} ({found.min:.2f} to {found.max:.2f}; aim: 1.10)")


def flood(run: Run, per_second: int | None) -> None:
    """Print the latencies of known callers, and the memory, without a flood of random tokens and with it."""
    size = run.size
    quiet: dict[int, dict[str, Any]] = {}
    beside: dict[int, dict[str, Any]] = {}
    floods: list[dict[str, Any]] = []
    before = {role: run.memory(role) for role in ROLES}
    for role in ROLES:
        processes.forget_peak(processes.family(run.stack.processes[role]))
    for number in range(size.flood_rounds):
        for with_flood in random.sample((False, True), 2):
            if not with_flood:
                quiet[number] = run.known(size.flood_seconds)
                continue
            with run.flooded(size.flood_seconds) as results:
                beside[number] = run.known(size.flood_seconds)
            floods += results
    after = {role: run.memory(role) for role in ROLES}
    limit = "without a limit" if per_second is None else f"with a limit of {per_second} a second"
    reached = ", ".join(f"{each['rate']:,.0f}" for each in floods)
    print(f"\nrandom tokens from one address, {limit}: {reached} a second were reached of {size.flood:,}")
    print(f"{size.callers} known callers a second, {size.flood_rounds} rounds of {size.flood_seconds:g} s")
    print(f"{'':<34}{'p50, ms':>10}{'p99, ms':>10}  statuses")
    print_row("known callers, without", list(quiet.values()))
    print_row("known callers, during the flood", list(beside.values()))
    print_row("the flood itself", floods)
    for key in ("p50", "p99"):
        over = spread(ratios(*[{n: each[key] for n, each in rows.items()} for rows in (beside, quiet)]).values())
        assert over is not None
        print(f"{key} during it, over without: {over.median:.2f} ({over.min:.2f} to {over.max:.2f}; aim: 1.20)")
    for role in ROLES:
        grown, peak = after[role].rss - before[role].rss, after[role].peak - before[role].rss
        was = f"memory of {role}: {before[role].rss:.1f} MB"
        print(f"{was}, {grown:+.1f} MB afterwards, {peak:+.1f} MB at its peak (aim: 20)")


def print_row(name: str, results: Sequence[dict[str, Any]]) -> None:
    """Print a row of medians, and of statuses in all."""
    statuses: dict[str, int] = {}
    for each in results:
        for status, count in each["statuses"].items():
            statuses[status] = statuses.get(status, 0) + count
    middle = [spread([each[key] for each in results]) for key in ("p50", "p99")]
    cells = "".join(f"{each.median:>10.2f}" for each in middle if each is not None)
    print(f"{name:<34}{cells}  {', '.join(f'{status}: {count:,}' for status, count in sorted(statuses.items()))}")


if __name__ == "__main__":
    main()
