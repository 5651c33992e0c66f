"""The table of capabilities and AWS's service model of Converse: values, paths and limits that both have."""

from typing import Any, get_args

import botocore.session
import pytest
from botocore.model import StructureShape

from extproc.bedrock import capabilities
from extproc.bedrock.capabilities import Capabilities
from tests.unit.bedrock.test_capabilities import FAMILIES, each_family


@pytest.fixture(scope="module")
def converse() -> StructureShape:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("ConverseStream").input_shape
    assert shape is not None
    return shape


def _at(shape: Any, *path: str) -> Any:
    for step in path:
        shape = shape.member if step == "[]" else shape.members[step]
    return shape


_BLOCK = ("messages", "[]", "content", "[]")


@pytest.mark.parametrize(
    ("words", "path", "further"),
    [
        (capabilities.DocumentFormat, (*_BLOCK, "document", "format"), ()),
        (capabilities.VideoFormat, (*_BLOCK, "video", "format"), ()),
        (capabilities.AudioFormat, (*_BLOCK, "audio", "format"), ()),
        (capabilities.CacheTtl, (*_BLOCK, "cachePoint", "ttl"), ()),
        (capabilities.ServiceTier, ("serviceTier", "type"), ("default",)),
    ],
)
def test_values_are_those_of_the_service_model(
    converse: StructureShape, words: Any, path: tuple[str, ...], further: tuple[str, ...]
) -> None:
    assert sorted((*get_args(words), *further)) == sorted(_at(converse, *path).enum)


def test_tool_choices_are_those_of_the_service_model(converse: StructureShape) -> None:
    assert set(get_args(capabilities.ToolChoice)) == set(_at(converse, "toolConfig", "toolChoice").members)


@each_family
def test_paths_lead_to_where_the_service_model_has_something(converse: StructureShape, family: Capabilities) -> None:
    for path in filter(None, (family.effort_path, family.top_k)):
        if path[0] == "additionalModelRequestFields":
            assert _at(converse, path[0]).type_name == "structure"
            assert len(path) > 1
        else:
            assert _at(converse, *path).type_name == "string"


def test_limits_are_within_those_of_the_service_model(converse: StructureShape) -> None:
    inference = _at(converse, "inferenceConfig")
    assert Capabilities().max_temperature == inference.members["temperature"].metadata["max"]
    assert max(family.stop_sequences for family in FAMILIES) <= inference.members["stopSequences"].metadata["max"]
