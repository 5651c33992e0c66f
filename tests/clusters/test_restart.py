"""A rollout of the workers under load: a new one is added to the name that Envoy looks up, and an old one ends.

In a cluster a headless Service's name has a pod's address from when it is ready until it is terminated; here it is a
line of /etc/hosts. `minReadySeconds` is the time that Envoy has to find the new one, so it is waited for.
"""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clusters.conftest import Attached
from tests.clusters.through_a_mesh import NOVA

pytestmark = pytest.mark.mesh

PROCESSOR = "oai-extproc.oai-gateway.svc.cluster.local"
HOSTS = Path("/etc/hosts")
NEW = "127.0.0.2"
FINDING_SECONDS = 120.0
"""Longest time that Envoy may take to look a name up again."""
STREAM = "word " * 14 + "end [[local: pace=0.25]]"


@dataclass
class CallersOfCluster:
    """Callers who go on until they are stopped."""

    gateway: Attached
    ended: threading.Event = field(default_factory=threading.Event)
    served: int = 0
    streams: int = 0
    failures: list[object] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def caller(self, text: str, keeps: bool) -> None:
        """Call after call, on one connection as long as it lasts, or each on one of its own."""
        while not self.ended.is_set():
            connection = http.client.HTTPConnection(httpx.URL(self.gateway.url).netloc.decode(), timeout=60)
            try:
                while self._call(connection, text) and keeps and not self.ended.is_set():
                    pass
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
            finally:
                connection.close()

    def _call(self, connection: http.client.HTTPConnection, text: str) -> bool:
        """Make one call; return whether the connection may be used again."""
        streamed = text is STREAM
        body = {"model": NOVA, "messages": [{"role": "user", "content": text}], "stream": streamed}
        headers = {"authorization": f"Bearer {self.gateway.tokens['ci']}", "content-type": "application/json"}
        connection.request("POST", "/oai/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        whole = content.endswith(b"data: [DONE]\n\n") if streamed else content.endswith(b"}")
        with self.lock:
            self.served += 1
            self.streams += streamed
            if response.status != 200 or not whole:
                self.failures.append((response.status, content[-300:]))
        return response.getheader("connection") != "close"


@contextmanager
def under_load(gateway: Attached) -> Iterator[CallersOfCluster]:
    load = CallersOfCluster(gateway)
    kinds = [("Hello!", True), ("Hello!", False), (STREAM, True), (STREAM, False), (STREAM, True)]
    with ThreadPoolExecutor(len(kinds)) as threads:
        callers = [threads.submit(load.caller, *kind) for kind in kinds]
        try:
            yield load
        finally:
            load.ended.set()
        for caller in callers:
            caller.result()


@pytest.fixture
def name() -> Iterator[Callable[..., None]]:
    """Gives the workers' name addresses. The file is written in place: it is mounted over the machine's own.

    It is never empty meanwhile, or Envoy could find that Bedrock has no address.
    """
    before = HOSTS.read_text()

    def write(text: str) -> None:
        with HOSTS.open("r+b", buffering=0) as file:
            file.write(text.encode())
            file.truncate()

    def give(*addresses: str) -> None:
        write(before.replace(PROCESSOR, "") + "".join(f"{each} {PROCESSOR}\n" for each in addresses))

    yield give
    write(before)


def connections(address: str) -> int:
    """Open connections of this network to a worker's port."""
    remote = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + f":{9443:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(1 for line in lines if line[2] == remote and line[3] == "01")


def test_a_rollout_of_the_workers_loses_no_call(
    gateway: Attached, worker: Any, name: Callable[..., None], eventually: Any
) -> None:
    with under_load(gateway) as load:
        with worker(NEW) as new:
            name("127.0.0.1", NEW)
            eventually(lambda: connections(NEW) > 1, "the new worker is not called", FINDING_SECONDS)
            at_first = load.streams
            eventually(lambda: load.streams > at_first + 3, "no streams end", FINDING_SECONDS)
            name("127.0.0.1")
            assert new.stop() == 0
        at_last = load.streams
        eventually(lambda: load.streams > at_last + 3, "no streams end", FINDING_SECONDS)
    assert Counter(map(str, load.failures)) == {}
    assert load.served > load.streams > 6
