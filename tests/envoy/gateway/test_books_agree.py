"""The ledger, the metrics and the budgets have what the local Bedrock has billed, whoever is killed.

A test makes calls, and compares what each of the books has got more since then.
"""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import CONFIG, Gateway
from tests.envoy.gateway.books import (
    CHAT,
    CLAUDE,
    COHERE,
    EMBEDDINGS,
    NOVA,
    PRICES,
    RESPONSES,
    STORES,
    TITAN,
    Books,
    Eventually,
    InRedis,
    Sums,
    caller,
    chat,
    read_until,
    whole,
)
from tests.envoy.gateway.conftest import Client
from tests.local_bedrock import LocalBedrock


@pytest.fixture(scope="module", params=STORES)
def store(request: Any, start_shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store of budgets, and a gateway whose organisation has one in tokens and one in dollars."""
    store = STORES[request.param.split(" ")[0]](tmp_path_factory.mktemp("store"))
    acme = {"budgets": [{"tokens": "1G", "per": "month"}, {"usd": "100000000", "per": "week"}]}
    settings = {
        "organisations": {**CONFIG["organisations"], "acme": acme},
        **store.settings,
        "prices": dict.fromkeys((NOVA, CLAUDE, TITAN, COHERE), PRICES),
        "usage": {"ledger": "usage.jsonl"},
        "endpoints": {"responses": True},
    }
    if request.param.endswith(" hurried"):
        settings["embeddings"] = {"seconds": 2}
    yield start_shared(settings, args=["--health", "127.0.0.1:0"]), store
    if isinstance(store, InRedis):
        store.server.kill()


@pytest.fixture
def gateway(store: Any) -> Any:
    return store[0]


@pytest.fixture
def books(store: Any, local: LocalBedrock, eventually: Eventually) -> Books:
    return Books(*store, local, eventually)


@pytest.fixture
def client(gateway: Gateway, client_of: Callable[[Gateway], Client]) -> Client:
    return client_of(gateway)


# Calls that end


def test_all_kinds_of_calls_to_the_token(books: Books, client: Client) -> None:
    bodies: list[tuple[str, Any]] = [
        (CHAT, chat("Count to 40.")),
        (CHAT, chat("Count to 40.", max_tokens=9)),
        (CHAT, chat("Hi [[local: cacheread=123456789 cachewrite=20]]", CLAUDE)),
        (CHAT, chat("Hi", CLAUDE, reasoning_effort="low", max_completion_tokens=4000)),
        (EMBEDDINGS, {"model": TITAN, "input": "one two three"}),
        (EMBEDDINGS, {"model": TITAN, "input": [f"text {number}" for number in range(12)]}),
        (EMBEDDINGS, {"model": COHERE, "input": ["a", "b c", "d"]}),
        (RESPONSES, {"model": NOVA, "input": "Count to 20."}),
        ("responses/input_tokens", {"model": CLAUDE, "input": "Nobody bills this."}),
    ]
    for path, body in bodies:
        assert client.post(path, body).status == 200
    for text, model in (("Count to 60.", NOVA), ("Hi [[local: cacheread=50 cachewrite=10]]", CLAUDE)):
        with client.stream(text, model=model) as stream:
            assert stream.rest()[-1] == "[DONE]"
    with whole(books.gateway, RESPONSES, {"model": NOVA, "input": "Count to 20.", "stream": True}) as received:
        assert "response.completed" in received
    assert books.agreed(len(bodies) + 3) == (books.billed(), 0)


def test_what_fails_is_billed_nothing(books: Books, client: Client) -> None:
    failures: list[tuple[int, str, Any]] = [
        (400, CHAT, chat("Hi [[local: status=400]]")),
        (429, CHAT, chat("Hi [[local: status=429]]")),
        (503, CHAT, chat("Hi [[local: exception=serviceUnavailableException]]", stream=True)),
        (429, EMBEDDINGS, {"model": TITAN, "input": "[[local: status=429]] x"}),
        (429, RESPONSES, {"model": NOVA, "input": "Hi [[local: status=429]]"}),
        (403, CHAT, chat("Hi", "gpt-4o")),  # it has no price
        (400, CHAT, {}),
    ]
    for status, path, body in failures:
        assert client.post(path, body).status == status
    assert books.agreed(len(failures)) == (Sums(), 0)
    assert books.billed() == Sums()


def test_what_fails_and_was_counted_is_exact(books: Books, client: Client) -> None:
    text = "Hi [[local: stop=malformed_model_output]]"
    assert client.chat(text, model=NOVA).status == 502
    with client.stream(text, model=NOVA) as stream:
        assert "malformed_model_output" in stream.rest()[-1]
    assert books.agreed(2) == (books.billed(), 0)


BROKEN = ("cut after=60", "exception=modelStreamErrorException after=60", "end after=60")


@pytest.mark.parametrize("order", BROKEN)
def test_a_stream_that_bedrock_breaks_is_an_estimate(books: Books, order: str) -> None:
    with whole(books.gateway, CHAT, chat(f"Count to 90. [[local: {order}]]", stream=True)) as received:
        assert ('"error"' in received, "[DONE]" in received) == (not order.startswith("cut"), False)
    took, estimates = books.agreed(1)
    assert estimates == 1
    is_near(took, books.billed())


def test_what_bedrock_does_not_count_is_an_estimate(books: Books, client: Client) -> None:
    text = "Count to 90. [[local: nousage]]"
    assert client.chat(text, model=NOVA).status == 200
    assert client.post(RESPONSES, {"model": NOVA, "input": text}).status == 200
    with client.stream(text, model=NOVA) as stream:
        assert stream.rest()[-1] == "[DONE]"
    took, estimates = books.agreed(3)
    assert estimates == 3
    is_near(took, books.billed())


def test_a_response_that_cannot_be_read_is_an_estimate(books: Books, client: Client) -> None:
    assert client.chat("Count to 40. [[local: corrupt after=9]]", model=NOVA, max_tokens=300).status == 502
    took, estimates = books.agreed(1)
    assert (estimates, took.output_tokens) == (1, 300)


FAILS = {"rejected": ("status=400", 400), "throttled": ("status=429", 429), "cut": ("cut", 503)}


@pytest.mark.parametrize("failure", FAILS)
def test_embeddings_of_which_one_fails_are_an_estimate(books: Books, client: Client, failure: str) -> None:
    """Bedrock bills those in flight, too: it goes on with a call whose client leaves."""
    order, status = FAILS[failure]
    served, held = ["word " * 400] * 20, ["word " * 400 + "[[local: hold]]"] * 7
    last = ["word " * 400 + "[[local: pause=0.5]]", f"[[local: {order}]] x"]
    assert client.embed([*served, *held, *last], model=TITAN).status == status
    took, estimates = books.agreed(1)
    billed = books.billed()
    assert estimates == 1
    assert billed.input_tokens > 27 * 400
    assert billed.input_tokens <= took.input_tokens < 29 * 600


@pytest.mark.parametrize("store", [f"{name} hurried" for name in STORES], indirect=True)
def test_embeddings_that_take_too_long_are_an_estimate(books: Books, client: Client) -> None:
    texts = ["word " * 400, *["word " * 400 + "[[local: hold]]"] * 9, "never sent " * 4000]
    assert client.embed(texts, model=TITAN).status == 504
    took, estimates = books.agreed(1)
    billed = books.billed()
    assert estimates == 1
    assert billed.input_tokens > 8 * 400
    assert billed.input_tokens <= took.input_tokens < 10 * 600


def test_embeddings_of_which_none_is_served_are_billed_nothing(books: Books, client: Client) -> None:
    assert client.embed(["[[local: status=400]] x"] * 2, model=TITAN).status == 400
    took, _ = books.agreed(1)
    assert books.billed() == Sums()
    assert took.input_tokens < 20  # of the other, where the first error arrived before its own


@pytest.mark.parametrize("order", ["cut", "cut after=100", "corrupt after=9"])
def test_embeddings_whose_responses_break_off_are_called_once(books: Books, client: Client, order: str) -> None:
    texts = ["word " * 400, "word " * 400 + f"[[local: {order}]]"]
    assert client.embed(texts, model=TITAN).status in (502, 503)
    took, estimates = books.agreed(1)
    assert estimates == 1
    assert len(books.local.calls()) == 2
    assert books.billed().input_tokens <= took.input_tokens < 2 * 600


def is_near(took: Sums, billed: Sums) -> None:
    """Assert that an estimate has tokens of each kind of which something was billed, and not many times as many."""
    for name in ("input_tokens", "output_tokens"):
        estimate, bill = getattr(took, name), getattr(billed, name)
        assert bill / 4 <= estimate <= 16 * bill


# Callers and workers that are killed


def kill_client(books: Books, process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def kill_worker(books: Books, process: "subprocess.Popen[str]") -> None:
    """Kill the worker once it has written how far the call is, and wait for the next."""
    gateway, now, since = books.gateway, time.time(), len(books.gateway.log())
    gateway.expect_restarts()
    end = time.monotonic() + 30
    while books.store.counted_at() <= now:
        assert time.monotonic() < end, "nothing is written"
        time.sleep(0.05)
    [pid] = gateway.pids("extproc.worker.command")
    os.kill(pid, signal.SIGKILL)
    process.wait(60)
    gateway.wait_for("serving on", since)
    while not is_served(gateway):  # the next test's call is no 503 of Envoy's, which has to see the new worker
        assert time.monotonic() < end + 30, "Envoy does not see the new worker"
        time.sleep(0.05)


def is_served(gateway: Gateway) -> bool:
    try:
        with urllib.request.urlopen(f"{gateway.origin}/healthz", timeout=60):
            return True
    except urllib.error.HTTPError:
        return False


KILLS = pytest.mark.parametrize("kill", [kill_client, kill_worker])
ANOTHER = pytest.mark.parametrize("store", [f"{name} another" for name in STORES], indirect=True)
"""For a gateway of their own: `up` ends where a worker is killed six times in a row."""

STREAMS = {
    "chat": (CHAT, lambda text: chat(text, stream=True), '"content":"1', '"finish_reason":"stop"'),
    "responses": (
        RESPONSES,
        lambda text: {"model": NOVA, "input": text, "stream": True},
        "response.output_text.delta",
        "response.completed",
    ),
}


SENT = " ".join(map(str, range(1, 60)))
"""The text of 59 deltas of a model that counts."""


@KILLS
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_that_is_killed_is_an_estimate(books: Books, kill: Callable[..., None], kind: str) -> None:
    """All three books have the same, to 32 bytes of what was sent."""
    path, body, _, _ = STREAMS[kind]
    with caller(books.gateway, path, body("Count to 500. [[local: hold=after after=60]]")) as process:
        read_until(process, '" 59"')
        kill(books, process)
    is_estimate_of_what_was_sent(books)


def is_estimate_of_what_was_sent(books: Books) -> None:
    """Assert that all books have the same of one call, which is an estimate of `SENT` or of a little less."""
    took, estimates = books.agreed(1)
    assert estimates == 1
    assert len(SENT) - 32 <= 4 * took.output_tokens < len(SENT) + 4
    is_near(took, books.billed())


@KILLS
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_that_is_killed_after_bedrock_has_counted_is_exact(
    books: Books, kill: Callable[..., None], kind: str
) -> None:
    path, body, _, end = STREAMS[kind]
    with caller(books.gateway, path, body("Count to 50. [[local: hold=end]]")) as process:
        read_until(process, end)
        kill(books, process)
    assert books.agreed(1) == (books.billed(), 0)


@ANOTHER
@KILLS
@pytest.mark.parametrize("most", [200, None])
def test_a_response_that_is_not_streamed_is_an_estimate_of_its_most(
    books: Books, kill: Callable[..., None], most: int | None
) -> None:
    more = {} if most is None else {"max_tokens": most}
    with caller(books.gateway, CHAT, chat("Count to 50. [[local: hold]]", **more)) as process:
        held(books)
        kill(books, process)
    took, estimates = books.agreed(1)
    assert (estimates, took.output_tokens) == (1, most or 4096)
    assert took.output_tokens >= books.billed().output_tokens


@ANOTHER
@KILLS
def test_embeddings_of_several_inputs_that_are_killed_count_in_budgets_alone(
    books: Books, kill: Callable[..., None]
) -> None:
    """The one kind of call of which Envoy knows nothing before its end; docs/usage.md has it."""
    with caller(books.gateway, EMBEDDINGS, {"model": TITAN, "input": ["word " * 400, "x [[local: hold]]"]}) as process:
        held(books)
        kill(books, process)
    spent = books.spent()
    assert 400 < books.billed().input_tokens <= spent["tokens"] < 800
    assert spent["usd"] == PRICES["input"] * spent["tokens"]


@pytest.mark.parametrize("store", ["redis"], indirect=True)
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_during_which_the_store_is_killed_is_exact(books: Books, kind: str) -> None:
    path, body, begun, end = STREAMS[kind]
    assert isinstance(books.store, InRedis)
    with caller(books.gateway, path, body("Count to 50. [[local: hold]]")) as process:
        read_until(process, begun)
        books.store.server.kill()
        books.local.release()
        read_until(process, end)
        process.wait(60)
    books.store.server.start()
    assert books.agreed(1) == (books.billed(), 0)


@pytest.mark.parametrize("store", ["redis"], indirect=True)
def test_a_client_that_is_killed_while_the_store_is_away_is_counted_later(books: Books, eventually: Eventually) -> None:
    assert isinstance(books.store, InRedis)
    lines = books.written()
    with caller(books.gateway, CHAT, chat("Count to 500. [[local: hold=after after=60]]", stream=True)) as process:
        read_until(process, '" 59"')
        books.store.server.kill()
        kill_client(books, process)
        eventually(lambda: books.written() > lines)
    books.store.server.start()
    is_estimate_of_what_was_sent(books)


def held(books: Books) -> None:
    """Wait until Bedrock holds a response."""
    with urllib.request.urlopen(f"{books.local.url}/_local/calls?held=1", timeout=60) as response:
        response.read()
