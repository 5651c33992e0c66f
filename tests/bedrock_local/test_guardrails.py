"""The trace of a guardrail, as boto3 reads it."""

import pytest

GUARDRAIL = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}


@pytest.fixture
def traced(local, wire, converse):
    """Send a text with a guardrail, and return the traces of Converse and of ConverseStream."""

    def send(text, **config):
        config = {**GUARDRAIL, **config}
        whole = converse(text, guardrailConfig=config)
        call = {"modelId": wire.nova, "messages": [wire.user(text)], "guardrailConfig": config}
        *_, last = local.runtime.converse_stream(**call)["stream"]
        return [whole.get("trace"), last["metadata"].get("trace")]

    return send


@pytest.mark.parametrize("trace", ["enabled", "enabled_full"])
def test_a_trace_is_returned_on_request(traced, trace):
    for traces in traced("hello", trace=trace):
        guardrail = traces["guardrail"]
        assert guardrail["actionReason"] == "No action."
        metrics = guardrail["inputAssessment"]["gr1"]["invocationMetrics"]
        assert metrics["guardrailCoverage"]["textCharacters"] == {"guarded": 5, "total": 5}


def test_a_trace_shows_that_the_guardrail_intervened(traced):
    for traces in traced("hello [[local: stop=guardrail_intervened]]", trace="enabled"):
        assert traces["guardrail"]["actionReason"] == "Guardrail blocked."


@pytest.mark.parametrize("config", [{}, {"trace": "disabled"}])
def test_there_is_no_trace_without_a_request_for_it(traced, config):
    assert traced("hello", **config) == [None, None]


def test_a_guardrail_reads_what_is_marked_for_it_and_the_model_reads_all(local, wire):
    content = [{"text": "Say"}, {"guardContent": {"text": {"text": "hello"}}}]
    response = local.runtime.converse(
        modelId=wire.nova,
        messages=[{"role": "user", "content": content}],
        guardrailConfig={**GUARDRAIL, "trace": "enabled"},
    )
    assert '"Say hello"' in response["output"]["message"]["content"][0]["text"]
    metrics = response["trace"]["guardrail"]["inputAssessment"]["gr1"]["invocationMetrics"]
    assert metrics["guardrailCoverage"]["textCharacters"] == {"guarded": 5, "total": 9}
