"""`limits.address_requests_per_second`: who tries tokens as fast as he can is stopped by Envoy, and nobody else is."""

import collections
import http.client
import re
from pathlib import Path
from typing import Any

import pytest

from extproc.envoy_config.rate_limit import ADDRESSES

MODELS = "/oai/v1/models"
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


def ask(client: Any, address: str, token: str | None = "ci") -> Any:
    connection = from_address(client, address)
    try:
        return client.ask("GET", MODELS, token=token, connection=connection)
    finally:
        connection.close()


def test_a_flood_of_wrong_tokens_is_stopped_and_others_are_served(
    limited: Any, client_of: Any, eventually: Any
) -> None:
    client = client_of(limited)
    flood = [ask(client, "127.0.0.3", token=None) for _ in range(10 * BURST)]
    found = collections.Counter(answer.status for answer in flood)
    assert found.keys() == {401, 429}
    assert found[401] >= BURST
    assert flood[0].status == 401
    (stopped, *_) = (answer for answer in flood if answer.status == 429)
    assert stopped.error["type"] == "rate_limit_error"
    assert stopped.error["code"] == "rate_limit_exceeded"
    assert stopped.headers["retry-after"] == "1"
    assert ask(client, OTHER).status == 200
    eventually(lambda: ask(client, "127.0.0.3").status == 200)


def test_only_the_api_has_the_limit(limited: Any, client_of: Any) -> None:
    client = client_of(limited)
    assert {client.ask("GET", "/elsewhere").status for _ in range(5 * BURST)} == {404}


@pytest.mark.parametrize("limited", ["http2"], indirect=True)
def test_more_addresses_than_are_remembered_are_served(limited: Any, client_of: Any) -> None:
    client = client_of(limited)
    before = {pid: resident(pid) for pid in limited.pids("envoy")}
    assert before
    for number in range(ADDRESSES + 500):
        address = f"127.{1 + number // 40_000}.{number // 200 % 200}.{1 + number % 200}"
        assert ask(client, address, token=None).status == 401
    assert [pid for pid in before if resident(pid) - before[pid] > BYTES] == []
    assert ask(client, OTHER).status == 200


def resident(pid: int) -> int:
    """The memory that a process has, in bytes."""
    (pages,) = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(pages) * 1024
