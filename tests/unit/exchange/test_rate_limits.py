"""Durations as OpenAI writes them, and what a request reserves."""

import pytest

from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.rate_limits import ASSUMED_OUTPUT, MOST_RESERVED, duration, take
from extproc.limits.counters import MemoryCounters, Scope
from extproc.openai.errors import ApiError
from extproc.payload import Segments
from extproc.telemetry.record import Record

MS = 1_000_000
BODY = b"x" * 400
"""About 100 tokens."""


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (9 * MS, "9ms"),
        (12 * MS, "12ms"),
        (999 * MS + 1, "1s"),
        (1574 * MS, "1.574s"),
        (1500 * MS, "1.5s"),
        (20_000 * MS, "20s"),
        (60_000 * MS, "1m0s"),
        (360_000 * MS, "6m0s"),
        (90_050 * MS, "1m30.05s"),
        (59_999 * MS + 1, "1m0s"),
    ],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def reserved(limit: int, *calls: BedrockCall) -> int:
    return take(
        MemoryCounters(lambda: 0), [Scope("a", "a", tokens=limit)], Record("id", model="m"), calls, False
    ).tokens


@pytest.mark.parametrize(
    ("limit", "most_output", "tokens"),
    [
        (10_000, 50, 150),
        (10_000, 0, 100 + ASSUMED_OUTPUT),
        (10_000, 64_000, 100 + MOST_RESERVED),
        (1000, 64_000, 1000),
        (100, 50, 100),
    ],
)
def test_input_and_output_are_reserved_as_far_as_they_fit(limit: int, most_output: int, tokens: int) -> None:
    assert reserved(limit, BedrockCall("/", BODY, most_output=most_output)) == tokens


def test_embeddings_have_no_output_and_all_calls_count() -> None:
    assert reserved(1000, *[BedrockCall("/", BODY, inputs=1)] * 3) == 300


def test_what_is_not_billed_reserves_nothing() -> None:
    assert reserved(10, BedrockCall("/", BODY, billed=False)) == 0


def test_an_input_beyond_the_limit_is_rejected_for_good() -> None:
    with pytest.raises(ApiError, match=r"Request too large for m in a on tokens .*Limit 99, Requested 100\.") as error:
        reserved(99, BedrockCall("/", BODY, most_output=1))
    assert error.value.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.value.headers


PDF = Segments([b'[{"document":{"format":"pdf","name":"x","source":{"bytes":"', memoryview(b"A" * 2_133_334), b'"}}}]'])
"""1.6 MB, about 100,000 tokens."""


@pytest.mark.parametrize(("limit", "tokens"), [(1_000_000, 100_066), (50_000, 50_000)])
def test_the_length_of_a_pdf_is_reserved_and_makes_no_request_too_large(limit: int, tokens: int) -> None:
    assert reserved(limit, BedrockCall("/", PDF, most_output=50)) == tokens


def test_a_stream_without_a_limit_of_streams_is_none() -> None:
    counters = MemoryCounters(lambda: 0)
    ticket = take(counters, [Scope("a", "a", requests=5)], Record("id"), [BedrockCall("/", BODY)], True)
    ticket.settle(0)
    assert dict(ticket.headers)["x-ratelimit-remaining-requests"] == "4"
