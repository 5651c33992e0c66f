"""The tokens of a call as Envoy's own filters know them; tests/envoy/gateway/test_token_usage.py has the filter."""

import pytest

from extproc.openai.completion import Usage
from extproc.telemetry.record import Record
from extproc.telemetry.token_usage import token_usage


def test_a_part_is_counted_in_the_whole() -> None:
    record = Record("id", operation="chat", model="m")
    record.account(Usage(prompt=10, completion=3, cached=5, cache_written=2, reasoning=1), "stop")
    usage = token_usage(record)
    assert usage is not None
    assert usage.fields == {
        "llm_protocol": "OPENAI_CHAT_COMPLETIONS",
        "model": "m",
        "input_tokens": 10,
        "output_tokens": 3,
        "total_tokens": 13,
        "provider_total_tokens": 13,
        "extraction_status": "COMPLETE",
    }
    assert usage.input_details == {"cached_tokens": 5, "cache_creation_tokens": 2}
    assert usage.output_details == {"reasoning_tokens": 1}


@pytest.mark.parametrize(("operation", "protocol"), [("responses", "OPENAI_RESPONSES"), ("embeddings", None)])
def test_protocols(operation: str, protocol: str | None) -> None:
    usage = token_usage(Record("id", operation=operation, input_tokens=1))
    assert usage is not None
    assert usage.fields.get("llm_protocol") == protocol


def test_an_estimate_is_partial() -> None:
    usage = token_usage(Record("id", input_tokens=1, estimated=True))
    assert usage is not None
    assert usage.fields["extraction_status"] == "PARTIAL"


def test_a_call_without_tokens_has_none() -> None:
    assert token_usage(Record("id")) is None
