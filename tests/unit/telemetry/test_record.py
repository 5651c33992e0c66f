"""The record of a call."""

from extproc.openai.completion import Usage
from extproc.telemetry.record import Record


def test_an_account_of_the_usage_has_the_tokens_of_both_sides_of_a_cache() -> None:
    record = Record("id")
    record.account(Usage(prompt=10, completion=3, cached=5, cache_written=2), "stop")
    fields = record.metadata()
    names = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "finish")
    assert [fields[name] for name in names] == [10, 3, 5, 2, "stop"]
