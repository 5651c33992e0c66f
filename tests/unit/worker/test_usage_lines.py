"""Lines of a ledger -> sums."""

import json

import pytest

from extproc.worker.usage_lines import COMPLETIONS, EMBEDDINGS, Key, summed
from tests.unit.worker.usage_ledgers import NOVA, NOW, TITAN, line

MINUTE = NOW - NOW % 60


def test_calls_are_summed_up_by_who_what_and_when() -> None:
    lines = [
        line(),
        line(),
        line(NOW + 60),
        line(token="dev"),
        line(organisation="umbrella"),
        line(known_model=TITAN, operation="embeddings", output_tokens=0, cached_tokens=0, cache_write_tokens=0),
        line(operation="responses"),
    ]
    sums, broken = summed(lines)
    assert broken == 0
    assert sums == {
        Key(MINUTE, "acme", COMPLETIONS, NOVA, "ci"): (3, 30, 12, 3, 15, 300),
        Key(MINUTE + 60, "acme", COMPLETIONS, NOVA, "ci"): (1, 10, 4, 1, 5, 100),
        Key(MINUTE, "acme", COMPLETIONS, NOVA, "dev"): (1, 10, 4, 1, 5, 100),
        Key(MINUTE, "umbrella", COMPLETIONS, NOVA, "ci"): (1, 10, 4, 1, 5, 100),
        Key(MINUTE, "acme", EMBEDDINGS, TITAN, "ci"): (1, 10, 0, 0, 0, 100),
    }


def test_a_call_that_was_cut_counts_and_one_that_was_rejected_does_not() -> None:
    lines = [
        line(status=0),
        line(status=400, input_tokens=0, output_tokens=0),
        line(status=200, input_tokens=0, output_tokens=0, cached_tokens=0, cache_write_tokens=0, cost_micro_usd=0),
        line(operation="models"),
        line(operation="usage"),
        line(operation="input_tokens"),
    ]
    sums, broken = summed(lines)
    assert (list(sums.values()), broken) == ([(2, 10, 4, 1, 5, 100)], 0)


def test_what_a_killed_worker_left_out_is_nothing() -> None:
    missing = {"known_model": None, "token": None, "cached_tokens": None, "cache_write_tokens": None}
    sums, broken = summed([line(**missing, cost_micro_usd=None)])
    assert (sums, broken) == ({Key(MINUTE, "acme", COMPLETIONS, "", ""): (1, 10, 0, 0, 5, 0)}, 0)


def test_round_numbers_count_as_envoy_writes_them() -> None:
    text = line(input_tokens=100_000, cost_micro_usd=2_000_000)
    written = text.replace(b": 100000", b": 1e+05").replace(b": 2000000", b": 2e+06")
    assert b"1e+05" in written
    assert b"2e+06" in written
    assert summed([written]) == summed([text])


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 60_000,
        line()[:-20],
        b"",
        b"[]",
        b"\xff\xfe",
        line(start="yesterday"),
        line(start="2026-11-30T10:00:00"),
        line(start="2026-11-30T10:00:00+02:00"),
        line(input_tokens=-1),
        line(input_tokens=2**54),
        line(output_tokens=1.5),
        json.dumps({"start": "2026-11-30T10:00:00.000Z"}).encode(),
    ],
)
def test_a_line_that_is_no_record_is_left_out_and_counted(text: bytes) -> None:
    sums, broken = summed([text, line()])
    assert (len(sums), broken) == (1, 1)


def test_a_call_behind_half_a_line_counts() -> None:
    """A full disk takes half a line; what Envoy writes next is in the same one."""
    whole = b'{"bedrock_model":"x",' + line()[1:]
    assert summed([whole[:50] + whole]) == (summed([line()])[0], 1)
