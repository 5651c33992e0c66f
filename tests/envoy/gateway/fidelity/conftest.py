"""A gateway before a local Bedrock that streams without pauses, for the rows of this folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Gateway, Starter
from tests.envoy.gateway.conftest import Client, LocalBedrock, client_for, own_bedrock

PACE = ("--pace", "0")


@pytest.fixture(scope="session")
def bedrock() -> Iterator[Any]:
    with own_bedrock(*PACE) as bedrock:
        yield bedrock


@pytest.fixture(scope="session")
def quick(bedrock: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of all rows without an operator's settings; it must not meet a bug of its own."""
    starter = Starter(tmp_path_factory.mktemp("fidelity"))
    gateway = starter(env=bedrock.environment, args=["--upstream", "aws"])
    yield gateway
    starter.end()
    assert "Traceback" not in gateway.log()


@pytest.fixture
def client(quick: Gateway) -> Client:
    return client_for(quick)


@pytest.fixture
def local(bedrock: Any) -> LocalBedrock:
    local = LocalBedrock(bedrock.url)
    local.forget()
    return local
