"""Credentials cross from AWS's subprocess as JSON, compiled as interpreted."""

import msgspec
import pytest

from extproc.aws.credentials import ResolvedCredentials
from extproc.bedrock.credentials import Credentials


@pytest.mark.parametrize("token", [None, "session"])
@pytest.mark.parametrize("expires", [None, 1.5])
def test_resolved_credentials_survive_json(token: str | None, expires: float | None) -> None:
    resolved = ResolvedCredentials(Credentials("AKID", "secret", token), "environment", expires)
    assert msgspec.json.decode(msgspec.json.encode(resolved), type=ResolvedCredentials | None) == resolved
