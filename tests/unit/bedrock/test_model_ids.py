"""Valid model ids: AWS's pattern, without any id that another parser could read differently."""

import json
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import botocore.session
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extproc.bedrock.model_ids import AWS, MAX_LENGTH, PARTITIONS, is_model_id, partition
from extproc.bedrock.seed import seed
from extproc.bedrock.sigv4 import model_path

ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream", "InvokeModel"])
def test_the_pattern_is_that_of_the_installed_botocore(operation: str) -> None:
    model = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model(operation)
    assert model.input_shape is not None
    shape = model.input_shape.members["modelId"]
    pattern = AWS.invoke if operation == "InvokeModel" else AWS.converse
    assert (shape.metadata["pattern"], shape.metadata["max"]) == (pattern, MAX_LENGTH)


def test_the_partitions_are_those_of_the_installed_botocore() -> None:
    [folder] = botocore.__path__
    known = json.loads((Path(folder) / "data" / "partitions.json").read_bytes())["partitions"]
    assert {each["id"] for each in known} == {name for _, name in PARTITIONS}
    for each in known:
        regions = [region for region in each["regions"] if not region.endswith("-global")]
        assert regions
        assert {partition(region) for region in regions} == {each["id"]}


@pytest.mark.parametrize(
    "name",
    [
        "anthropic.claude-sonnet-4-6",
        "us.anthropic.claude-sonnet-4-6",
        "us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0",
        "amazon.nova-lite-v1:0:300k",
        "a1b2c3d4e5f6",
        "made-up",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
        ACCOUNT + "inference-profile/us.amazon.nova-micro-v1:0",
        "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.anthropic.claude-sonnet-4-6",
        ACCOUNT + "application-inference-profile/a1b2c3d4e5f6",
        ACCOUNT + "provisioned-model/a1b2c3d4e5f6",
        ACCOUNT + "custom-model/amazon.titan-text-lite-v1/a1b2c3d4e5f6",
        ACCOUNT + "custom-model-deployment/a1b2c3d4e5f6",
        ACCOUNT + "imported-model/a1b2c3d4e5f6",
        ACCOUNT + "prompt/ABCDE12345:1",
        ACCOUNT + "default-prompt-router/anthropic.claude:1",
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-endpoint",
    ],
)
def test_ids_of_every_kind_pass(name: str) -> None:
    assert is_model_id(name)


def test_every_id_of_the_built_in_list_passes() -> None:
    assert all(is_model_id(entry.id) for entry in seed("us-east-1").entries())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "a:",
        "-a",
        "a/b",
        "a b",
        "a\n",
        "a\x00",
        "a?b",
        "a#b",
        "%61",
        "a\\b",
        "a" * (MAX_LENGTH + 1),
        "arn:aws-/../x:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0",
        "arn:aws-%2e:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0",
        "arn:aws-\u200b:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0",
        ACCOUNT + "inference-profile/..",
        ACCOUNT + "guardrail/abc",
        "arn:aws-haiku:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
        "arn:aws-x.nova-x:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
        "arn:aws-haiku:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0",
        "arn:aws:bedrock:us-east-1:haiku:amazon.nova-micro-v1:0",
        "ARN:aws:bedrock:us-east-1:amazon.nova-micro-v1:0",
        "ARN:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0",
    ],
)
def test_an_id_that_is_invalid_or_ambiguous_is_rejected(name: str) -> None:
    assert not is_model_id(name)


pieces = st.sampled_from(["arn:aws", "arn:aws-", ":bedrock:us-east-1:", "123456789012", ":", "/", ".", "..", "%2f"])
kinds = st.sampled_from(
    ["inference-profile/", "foundation-model/", "prompt/", "us.", "amazon.nova", "A", "é", "\u2024"]
)
anything = st.text(max_size=20) | st.lists(pieces | kinds | st.text(max_size=2), max_size=12).map("".join)


@given(anything)
@example("a." * 1024)
@example("a_" * 1023 + "!")
@example("arn:aws" + "-" * 2000)
def test_an_id_that_passes_has_one_reading(name: str) -> None:
    if not is_model_id(name):
        return
    assert re.fullmatch(AWS.converse, name)
    assert re.fullmatch(AWS.invoke, name)
    assert name == unquote(name) == unicodedata.normalize("NFKC", name) == name.strip()
    assert not {"", ".", ".."} & set(name.split("/"))


@given(anything)
@example("..")
@example("../../x?y#z")
def test_a_path_is_always_one_segment_for_the_id(name: str) -> None:
    assert re.fullmatch(r"/model/(?!\.{1,2}/)(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*/converse", model_path(name, "converse"))
