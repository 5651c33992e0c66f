"""Both wires say what they do: every input that was once wrong, with its neighbours, whole and streamed.

A row has what a caller sends, what Bedrock gets of it, and what comes back (`row.Row`). Each goes through a real Envoy
to a local Bedrock that keeps AWS's rules; chunks and responses are read by the openai package. Then the conversation
goes on with the message as it came: whatever a model wrote may come back.

`test_entries.py` has the entries that the rows belong to, and the tests elsewhere that prove the others.
"""

from collections import Counter
from typing import Any

import jmespath
import pytest

from tests.envoy.gateway.fidelity import calls
from tests.envoy.gateway.fidelity.histories import ARGUMENTS
from tests.envoy.gateway.fidelity.row import MISTRAL, NOVA, SONNET_4_6, WEATHER, Row
from tests.envoy.gateway.fidelity.table import ROWS

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def values(paths: Any, document: Any) -> dict[str, Any]:
    """Return the value at each path."""
    return {path: jmespath.search(path, document) for path in paths}


def body(local: Any) -> Any:
    """Return what Bedrock has seen since it was asked last, of one call."""
    [call] = local.calls()
    local.forget()
    assert call["state"] == "finished", call
    return call["body"]


@pytest.mark.parametrize("row", [row for row in ROWS if row.param is None], ids=lambda row: row.id)
def test_what_bedrock_gets_and_what_comes_back(client: Any, local: Any, row: Row) -> None:
    """The stream is the whole response in pieces, and either may come back in the next request."""
    meanings = []
    for stream in (False, True):
        completion, ignored = calls.ask(client, row, row.fields, stream=stream)
        meanings.append(calls.meaning(completion))
        assert values(row.sent, body(local)) == row.sent, f"stream: {stream}"
        assert values(row.got, calls.view(completion)) == row.got, f"stream: {stream}"
        assert ignored == calls.expected(row, stream=stream), f"stream: {stream}"

        answer, ignored = calls.ask(client, row, calls.continued(row, completion), stream=stream)
        assert body(local)["messages"][-1]["role"] in ("user", "system")
        assert calls.view(answer)["message"], f"stream: {stream}"
        assert ignored == calls.expected(row, stream=stream, before=completion), f"stream: {stream}"
    whole, streamed = meanings
    assert streamed == whole


@pytest.mark.parametrize("model", [SONNET_4_6, NOVA, MISTRAL])
@both
def test_a_call_that_the_limit_of_tokens_has_cut_may_come_back(client: Any, model: str, stream: bool) -> None:
    """A2: what was cut differs, since Bedrock's whole response has no arguments then."""
    prompt = 'Call get_weather for "Paris and all of its many many suburbs".'
    fields = {**WEATHER, "tool_choice": "required", "max_tokens": 4}
    row = Row(entry="A2", case="a cut", model=model, prompt=prompt, fields=fields)
    completion, ignored = calls.ask(client, row, fields, stream=stream)
    assert values(("finish_reason", "calls[].name"), calls.view(completion)) == {
        "finish_reason": "length",
        "calls[].name": ["get_weather"],
    }
    assert ignored == set()
    answer, ignored = calls.ask(client, row, calls.continued(row, completion), stream=stream)
    assert "18 degrees" in calls.view(answer)["message"]["content"]
    assert ignored == ({ARGUMENTS} if stream and model != MISTRAL else set())


@pytest.mark.parametrize("row", [row for row in ROWS if row.param], ids=lambda row: row.id)
@both
def test_what_is_rejected_is_named(client: Any, row: Row, stream: bool) -> None:
    response = calls.rejected(client, row, stream=stream)
    assert (response.status, response.error["param"]) == (400, row.param)


def test_each_row_has_a_name_of_its_own() -> None:
    assert [name for name, number in Counter(row.id for row in ROWS).items() if number > 1] == []
