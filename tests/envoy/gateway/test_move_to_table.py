"""The move from gateway.yaml to a table as docs/tenants.md has it, step by step, while calls flow: none of them fails.

Two workers, so that for a moment one has the table and the other the file.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CONFIG, TOKENS, Gateway, Starter
from tests.dynamodb import server
from tests.envoy.gateway.tables import IN_TABLE, PATIENT, TABLE, command, environment, key_of

WORKERS = 2
CALLS = 20
"""Calls that end after each step, at least."""


@pytest.fixture
def table() -> Iterator[server.Faulty]:
    """A server without any table."""
    with server.dynalite() as port, server.faulty(port) as proxy:
        yield proxy


@dataclass
class Load:
    """Callers in threads, each with calls of a kind, one after the other. `results` is what each call came to."""

    ended: threading.Event = field(default_factory=threading.Event)
    results: list[object] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def add(self, call: Callable[[], object]) -> None:
        thread = threading.Thread(target=self.run, args=(call,))
        self.threads.append(thread)
        thread.start()

    def run(self, call: Callable[[], object]) -> None:
        while not self.ended.is_set():
            try:
                self.results.append(call())
            except Exception as error:
                self.results.append(error)

    def go_on(self) -> None:
        """Wait for more calls, as many as are in a step."""
        done = len(self.results)
        while len(self.results) < done + CALLS:
            self.ended.wait(0.05)

    def end(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def streamed(client: Any) -> object:
    """Read a stream; return 200 if it is whole."""
    with client.stream("Count to 20.") as stream:
        events = list(iter(stream.next, None))
    return 200 if events[-1] == "data: [DONE]" else events


@contextmanager
def load(client: Any) -> Iterator[Load]:
    """Callers of two organisations: chats, embeddings, streams and lists of models."""
    callers = Load()
    texts = {"model": "amazon.titan-embed-text-v2:0", "input": ["one", "two"]}
    try:
        callers.add(lambda: client.chat("Hello!").status)
        callers.add(lambda: client.chat("Hello!", token="limited").status)
        callers.add(lambda: client.post("embeddings", texts).status)
        callers.add(lambda: client.exchange("GET", "/oai/v1/models").status)
        callers.add(lambda: streamed(client))
        yield callers
    finally:
        callers.end()


def switch(gateway: Gateway, text: str, words: str) -> None:
    """Put another file in gateway.yaml's place, and wait until each worker has taken it over."""
    since = len(gateway.log())
    draft = gateway.folder / "draft"
    draft.write_text(text)
    draft.replace(gateway.config_path)
    for worker in range(WORKERS):
        gateway.wait_for(f"worker-{worker}: .*gateway.yaml has changed: .*{words}", since)


def test_the_move_from_the_file_to_a_table_and_back_fails_no_call(
    start_gateway: Starter,
    client_of: Callable[[Gateway], Any],
    table: server.Faulty,
    tmp_path: Path,
    eventually: Callable[..., Any],
) -> None:
    gateway = start_gateway({"workers": WORKERS}, env=environment(table, tmp_path, PATIENT))
    client, folder = client_of(gateway), gateway.folder

    def run(*arguments: str) -> str:
        return command(*arguments, url=table.url, folder=folder)

    def known(secret: str) -> bool:
        """Return whether both workers know a token, as far as some calls on connections of their own can tell."""
        new = replace(client, tokens={"ci": secret})
        return all(new.exchange("GET", "/oai/v1/models").status == 200 for _ in range(10))

    with load(client) as callers:
        (folder / "table.yaml").write_text(yaml.safe_dump({**CONFIG, "workers": WORKERS, **IN_TABLE}))
        imported = ("directory", "import", "--config", "table.yaml", "--from", "gateway.yaml")
        assert run("directory", "init", "--config", "table.yaml").startswith(f"Made the table {TABLE} ")
        callers.go_on()
        assert run(*imported).startswith("Wrote 4 organisations and 6 tokens ")
        callers.go_on()

        late = run("token", "create", "--append", "gateway.yaml", "--name", "late", "--organisation", "acme").strip()
        eventually(lambda: known(late))
        assert run(*imported).startswith("Wrote 4 organisations and 7 tokens ")
        assert table.calls == [], "the file is in force, whatever is in the table"

        file = gateway.config_path.read_text()
        switch(gateway, (folder / "table.yaml").read_text(), f"are in the table {TABLE}")
        assert known(late)
        callers.go_on()
        switch(gateway, file, "organisations, 7 tok")
        assert known(late)
        callers.go_on()
    assert set(map(str, callers.results)) == {"200"}
    for token in (TOKENS["ci"], TOKENS["limited"], late):
        assert table.count(key_of(token)) >= 1, "the table was in force"
