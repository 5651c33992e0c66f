"""The rows of an operator's settings, whole and streamed, on a gateway that has them all."""

from typing import Any

import jmespath
import pytest

from tests.envoy.gateway.conftest import client_for
from tests.envoy.gateway.fidelity import calls
from tests.envoy.gateway.fidelity.operators import OPERATORS, REJECTED, SETTINGS
from tests.envoy.gateway.fidelity.row import KIMI_K3_1, Row

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def corrected(start_shared: Any, bedrock: Any) -> Any:
    return start_shared(SETTINGS, env=bedrock.environment, args=["--upstream", "aws"])


@pytest.fixture
def client(corrected: Any) -> Any:
    return client_for(corrected)


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: row.id)
@both
def test_a_setting_counts(client: Any, local: Any, row: Row, stream: bool) -> None:
    completion, ignored = calls.ask(client, row, row.fields, stream=stream)
    [call] = local.calls()
    assert {path: jmespath.search(path, call["body"]) for path in row.sent} == row.sent
    assert {path: jmespath.search(path, calls.view(completion)) for path in row.got} == row.got
    assert ignored == calls.expected(row, stream=stream)


@pytest.mark.parametrize("row", REJECTED, ids=lambda row: row.id)
@both
def test_a_corrected_cell_reaches_bedrock(client: Any, local: Any, row: Row, stream: bool) -> None:
    response = calls.rejected(client, row, stream=stream)
    [call] = local.calls()
    assert {path: jmespath.search(path, call["body"]) for path in row.sent} == row.sent
    assert (response.status in (400, 502), call["state"]) == (True, "refused")


@both
def test_an_effort_that_a_corrected_family_lacks_is_rejected(client: Any, local: Any, stream: bool) -> None:
    row = Row(entry="C", case="none", model=KIMI_K3_1, fields={"reasoning_effort": "none"})
    assert calls.rejected(client, row, stream=stream).error["param"] == "reasoning_effort"
    assert local.calls() == []
