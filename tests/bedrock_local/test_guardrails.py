"""What a guardrail says that it did, as boto3 reads it."""

import pytest

GUARDRAIL = {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}


@pytest.fixture
def traced(local, wire, say):
    """Ask with a guardrail; gives the traces of Converse and of ConverseStream."""

    def ask(text, **config):
        config = {**GUARDRAIL, **config}
        whole = say(text, guardrailConfig=config)
        call = {"modelId": wire.nova, "messages": [wire.user(text)], "guardrailConfig": config}
        *_, last = local.runtime.converse_stream(**call)["stream"]
        return [whole.get("trace"), last["metadata"].get("trace")]

    return ask


@pytest.mark.parametrize("trace", ["enabled", "enabled_full"])
def test_a_trace_is_given_where_it_is_asked_for(traced, trace):
    for found in traced("hello", trace=trace):
        guardrail = found["guardrail"]
        assert guardrail["actionReason"] == "No action."
        metrics = guardrail["inputAssessment"]["gr1"]["invocationMetrics"]
        assert metrics["guardrailCoverage"]["textCharacters"] == {"guarded": 5, "total": 5}


def test_a_trace_says_that_the_guardrail_stepped_in(traced):
    for found in traced("hello [[local: stop=guardrail_intervened]]", trace="enabled"):
        assert found["guardrail"]["actionReason"] == "Guardrail blocked."


@pytest.mark.parametrize("config", [{}, {"trace": "disabled"}])
def test_there_is_no_trace_where_it_is_not_asked_for(traced, config):
    assert traced("hello", **config) == [None, None]


def test_a_guardrail_reads_what_is_marked_for_it_and_the_model_reads_all(local, wire):
    content = [{"text": "Say"}, {"guardContent": {"text": {"text": "hello"}}}]
    answer = local.runtime.converse(
        modelId=wire.nova,
        messages=[{"role": "user", "content": content}],
        guardrailConfig={**GUARDRAIL, "trace": "enabled"},
    )
    assert '"Say hello"' in answer["output"]["message"]["content"][0]["text"]
    metrics = answer["trace"]["guardrail"]["inputAssessment"]["gr1"]["invocationMetrics"]
    assert metrics["guardrailCoverage"]["textCharacters"] == {"guarded": 5, "total": 9}
