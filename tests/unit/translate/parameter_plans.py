"""The parameters of a request beside its messages and tools, as they are planned for a family of models."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capability_table import BUILT_IN
from extproc.openai.chat import decode_request
from extproc.openai.errors import ApiError
from extproc.translate.ignored import Ignored
from extproc.translate.parameters import plan_parameters
from extproc.translate.reasoning import Reasoning
from extproc.translate.rules import NO_RULES, Rules
from tests.planned import Planned

FAMILIES = [family for family in BUILT_IN.families.values() if family.converse]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
CLAUDE = BUILT_IN.families["claude-3-7"]
NOVA = BUILT_IN.families["nova-2"]

Read = Callable[[bytes], dict[str, Any]]


def parameters_of(
    family: Capabilities = CLAUDE,
    reasoning: Reasoning | None = None,
    *,
    stream: bool = False,
    rules: Rules = NO_RULES,
    **fields: Any,
) -> Planned:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    ignored = Ignored()
    request = decode_request(json.dumps(body).encode())
    planned = plan_parameters(request, family, reasoning or Reasoning(), ignored, stream=stream, rules=rules)
    return Planned(planned, ignored)


def rejection(family: Capabilities = CLAUDE, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parameters_of(family, **fields)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value


def inference(family: Capabilities = CLAUDE, reasoning: Reasoning | None = None, **fields: Any) -> dict[str, Any]:
    sent = parameters_of(family, reasoning, **fields).inference
    return {} if sent is UNSET else msgspec.to_builtins(sent)


def changed(**capabilities: Any) -> Capabilities:
    return msgspec.structs.replace(BUILT_IN.of(None), **capabilities)
