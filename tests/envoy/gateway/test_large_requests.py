"""Large requests are translated in a process beside the worker: no call waits for another's."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

NOVA_LITE = "amazon.nova-lite-v1:0"
CHAT = "/oai/v1/chat/completions"
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(1_200_000)).decode()
LARGE = [
    {"type": "text", "text": "What is it?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
]
"""1.6 MB."""
MANY = [{"type": "text", "text": f"{number}"} for number in range(4_000)]
"""Small, but of many values: 120 KB."""


def send_request(client: Any, content: object, **fields: Any) -> Any:
    return client.chat(content, model=NOVA_LITE, **fields)


def translators(gateway: Any) -> list[int]:
    """The processes that translate for this gateway's workers."""
    workers = gateway.pids("extproc.worker.command")
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return [int(pid) for pid, parent, *args in rows if int(parent) in workers and "translation_process" in str(args)]


@contextmanager
def stopped(gateway: Any, client: Any) -> Iterator[None]:
    """Stop the translation of large requests meanwhile."""
    assert send_request(client, LARGE).status == 200
    [pid] = translators(gateway)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_large_requests_arrive_whole_streamed_or_not(client: Any, local: Any) -> None:
    assert send_request(client, LARGE).status == 200
    assert send_request(client, MANY).status == 200
    with client.stream(LARGE, model=NOVA_LITE) as stream:
        assert stream.rest()[-1] == "[DONE]"
    large = [{"text": "What is it?"}, {"image": {"format": "png", "source": {"bytes": IMAGE}}}]
    sent = [call["body"]["messages"][0]["content"] for call in local.calls()]
    assert sent == [large, [{"text": part["text"]} for part in MANY], large]


def test_small_requests_do_not_wait_for_a_large_one(client: Any, gateway: Any) -> None:
    with ThreadPoolExecutor() as pool:
        with stopped(gateway, client):
            large = pool.submit(send_request, client, LARGE)
            for _ in range(5):
                assert client.chat("Hello!").status == 200
                assert client.embed(["a", "b"]).status == 200
            assert not large.done()
        assert large.result().status == 200


def test_a_client_that_leaves_while_its_large_request_is_translated_takes_nothing_with_it(
    client: Any, gateway: Any
) -> None:
    body = json.dumps({"model": NOVA_LITE, "messages": [{"role": "user", "content": LARGE}]}).encode()
    with stopped(gateway, client):
        for _ in range(3):
            connection = client.connect()
            connection.request("POST", CHAT, body, {"authorization": f"Bearer {client.tokens['ci']}"})
            connection.close()
        assert client.chat("Hello!").status == 200
    assert send_request(client, LARGE).status == 200


def test_a_fault_in_a_large_request_is_a_400_that_names_the_field(client: Any, local: Any) -> None:
    response = send_request(client, LARGE, stop=["a"] * 5000)
    assert (response.status, response.error["param"], response.error["code"]) == (400, "stop", "array_above_max_length")
    response = send_request(client, [*MANY, {"type": "hologram"}])
    assert (response.status, response.error["param"]) == (400, "messages[0].content[4000].type")
    assert local.calls() == []


def test_a_translation_process_that_is_killed_is_replaced(client: Any, gateway: Any) -> None:
    assert send_request(client, LARGE).status == 200
    [pid] = translators(gateway)
    os.kill(pid, signal.SIGKILL)
    responses = [send_request(client, LARGE).status for _ in range(3)]
    assert responses[-1] == 200
    assert set(responses) <= {200, 503}
    assert pid not in translators(gateway)


def test_many_embeddings_of_one_request_are_all_there(client: Any) -> None:
    response = client.embed([f"text {number}" for number in range(600)], encoding_format="float")
    assert response.status == 200
    assert len(response.vectors) == 600
