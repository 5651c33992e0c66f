"""A bootstrap that a test can change."""

from typing import Any

import pytest
import yaml

from extproc import config
from extproc.envoy_config import EnvoyPlan, render
from extproc.net import Address
from tests.unit.envoy_config.documents import AWS, Edit


@pytest.fixture
def document() -> Edit:
    """Return the parsed bootstrap of a plan; arguments change the plan."""

    def make(settings: str = "{}", **changes: Any) -> dict[str, Any]:
        values = {"listen": Address("127.0.0.1", 8080), "processors": (Address(path="/run/w0.sock"),), "bedrock": AWS}
        plan = EnvoyPlan(**{**values, **changes}, settings=config.parse(settings.encode()))
        parsed: dict[str, Any] = yaml.safe_load(render(plan))
        return parsed

    return make
