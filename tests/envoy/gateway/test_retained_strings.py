"""Memory of a worker: long strings of callers, each a new one, in every field and header, do not stay there."""

import os
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
LONG = MIB
"""Bytes of a long string in a body."""
GROWTH = 20 * MIB
"""More than the caches may hold together, with what an allocator keeps; the strings that are sent come to much more."""


def resident(gateway: Any) -> int:
    """Bytes that the one worker has in memory."""
    (worker,) = gateway.pids("extproc.worker.command")
    pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def unique(number: int, size: int) -> str:
    return f"x{number}.".ljust(size, "y")


def send_long_strings(client: Any, number: int) -> None:
    """Send long strings wherever a request may have one; the responses do not matter here."""
    text, name = unique(number, LONG), unique(number, 2000)
    client.embed("Hello", model=text)
    client.embed("Hello", model=name)
    client.embed(text, user=text, encoding_format="float")
    client.chat("Hello", model=text)
    client.chat("Hello", model=name)
    client.chat(text, user=text, safety_identifier=text, metadata={text: text}, prompt_cache_key=text)
    client.post("chat/completions", {text: text})
    tool = {"name": name[:64].replace(".", "_"), "description": text, "parameters": {"type": "object", "title": text}}
    client.chat("Hello", tools=[{"type": "function", "function": tool}])
    form = {"name": "answer", "schema": {"type": "object", "title": unique(number, 16_000)}}
    client.chat("Hello", response_format={"type": "json_schema", "json_schema": form})
    client.chat("Hello", guardrailConfig={"guardrailIdentifier": name, "guardrailVersion": "1"})
    message = {"role": "user", "content": "Hello", name: name}
    client.post("chat/completions", {"model": "amazon.nova-micro-v1:0", "messages": [message]})


def send_long_headers(client: Any, number: int) -> None:
    """Names and values of headers, and a path."""
    body = b'{"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello"}]}'
    path = "/oai/v1/chat/completions"
    client.exchange("POST", path, body, headers=[(unique(number, 16_000).replace(".", "-"), "v")])
    client.exchange("POST", path, body, headers=[(f"x-{number}-{index}", unique(number, 500)) for index in range(60)])
    client.exchange("POST", path, body, headers=[("openai-organization", unique(number, 16_000))])
    client.exchange(
        "POST", path, body, headers=[("traceparent", unique(number, 500)), ("tracestate", unique(number, 16_000))]
    )
    client.exchange("GET", f"/oai/v1/models/{unique(number, 16_000)}")
    client.exchange("GET", f"/oai/v1/{unique(number, 16_000)}")
    client.exchange(
        "GET", "/oai/v1/models", token=None, headers=[("authorization", f"Bearer qc_{unique(number, 400)}")]
    )


def test_long_strings_do_not_stay(start_gateway: Any, client_of: Any) -> None:
    gateway = start_gateway()
    client = client_of(gateway)
    for number in range(5):
        send_long_strings(client, number)
        send_long_headers(client, number)
    before = resident(gateway)
    for number in range(5, 45):
        send_long_strings(client, number)
    for number in range(5, 205):
        send_long_headers(client, number)
    growth = resident(gateway) - before
    assert growth < GROWTH, f"{growth / MIB:.0f} MiB"
