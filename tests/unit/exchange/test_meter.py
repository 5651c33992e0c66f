"""What a meter tells of a call that runs; tests/envoy/gateway/test_usage.py has calls."""

from extproc.exchange.meter import Meter
from extproc.openai.completion import Usage
from extproc.telemetry.record import Record

ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
"""The id of a model that AWS does not list."""


def test_a_model_that_is_not_listed_is_known_from_its_first_content_on() -> None:
    record = Record("id", bedrock_model=ARN)
    meter = Meter(record, 0.0)
    assert "known_model" not in meter.running(0, 1.0)
    assert meter.running(5, 2.0)["known_model"] == record.known_model == ARN
    assert "known_model" not in meter.running(9, 3.0)


def test_a_model_that_is_not_listed_is_known_once_it_has_responded() -> None:
    record = Record("id", bedrock_model=ARN)
    meter = Meter(record, 0.0)
    meter.leave(b"{}")
    meter.reject()
    assert record.known_model == ""
    meter.count(Usage(1, 1), "stop")
    assert record.known_model == ARN
