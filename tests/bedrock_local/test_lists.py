"""The control plane by boto3: models, profiles, filters, pages, and what a region has."""

import pytest

from bedrock_local.models import Shelf

INFERENCE_TYPES = {"ON_DEMAND", "PROVISIONED", "INFERENCE_PROFILE"}


def ids(local, **filters):
    return [model["modelId"] for model in local.control.list_foundation_models(**filters)["modelSummaries"]]


def profiles(local, **filters):
    pages = local.control.get_paginator("list_inference_profiles").paginate(**filters)
    return [profile for page in pages for profile in page["inferenceProfileSummaries"]]


def test_models_are_listed_as_aws_lists_them(local):
    models = local.control.list_foundation_models()["modelSummaries"]
    assert len({model["modelId"] for model in models}) == len(models) > 40
    for model in models:
        assert model["modelArn"] == f"arn:aws:bedrock:us-east-1::foundation-model/{model['modelId']}"
        assert set(model["inferenceTypesSupported"]) <= INFERENCE_TYPES
        assert model["modelLifecycle"]["startOfLifeTime"].year >= 2023
        if model["modelLifecycle"]["status"] == "LEGACY":
            assert model["modelLifecycle"]["endOfLifeTime"] > model["modelLifecycle"]["startOfLifeTime"]


def test_filters(local):
    assert {name.split(".")[0] for name in ids(local, byProvider="anthropic")} == {"anthropic"}
    assert "cohere.embed-v4:0" in ids(local, byOutputModality="EMBEDDING")
    assert all("embed" in name for name in ids(local, byOutputModality="EMBEDDING"))
    assert "anthropic.claude-sonnet-4-6" not in ids(local, byInferenceType="ON_DEMAND")
    assert "amazon.nova-micro-v1:0" in ids(local, byInferenceType="ON_DEMAND", byOutputModality="TEXT")
    assert ids(local, byInferenceType="PROVISIONED")
    assert ids(local, byCustomizationType="FINE_TUNING") == []


@pytest.mark.parametrize("filters", [{"byOutputModality": "SMELL"}, {"byInferenceType": "INFERENCE_PROFILE"}])
def test_invalid_filters(local, rejected, filters):
    status, name, message = rejected(local.control.list_foundation_models, **filters)
    assert (status, name) == (400, "ValidationException")
    assert "Member must satisfy enum value set" in message


def test_one_model(local, rejected):
    arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0"
    for identifier in ("amazon.nova-micro-v1:0", arn):
        details = local.control.get_foundation_model(modelIdentifier=identifier)["modelDetails"]
        assert details["modelArn"] == arn
        assert details["providerName"] == "Amazon"
    status, name, _ = rejected(local.control.get_foundation_model, modelIdentifier="amazon.nova-none")
    assert (status, name) == (404, "ResourceNotFoundException")


def test_every_model_that_needs_a_profile_has_one_somewhere(start, local):
    servable = {arn["modelArn"].rpartition("/")[2] for profile in profiles(local) for arn in profile["models"]}
    models = local.control.list_foundation_models()["modelSummaries"]
    only = [model["modelId"] for model in models if model["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]]
    assert set(only) <= servable


def test_pages_of_profiles(local):
    everything = profiles(local)
    assert profiles(local, PaginationConfig={"PageSize": 7}) == everything
    assert len(local.control.list_inference_profiles(maxResults=7)["inferenceProfileSummaries"]) == 7


def test_types_of_profiles(local):
    own = profiles(local, typeEquals="APPLICATION")
    assert [profile["inferenceProfileArn"] for profile in own] == [
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/f6e5d4c3b2a1",
    ]
    system = profiles(local, typeEquals="SYSTEM_DEFINED", PaginationConfig={"PageSize": 5})
    assert {profile["inferenceProfileId"].split(".")[0] for profile in system} == {"us", "global"}
    assert len(own) + len(system) == len(profiles(local))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("maxResults=0", "at 'maxResults'"),
        ("maxResults=1001", "at 'maxResults'"),
        ("maxResults=all", "at 'maxResults'"),
        ("type=MINE", "at 'type'"),
        ("nextToken=guess", "nextToken"),
    ],
)
def test_invalid_queries(local, query, reason):
    path = f"/inference-profiles?{query}"
    status, name, message = local.send("GET", path, local.signed("GET", path)).error
    assert (status, name) == (400, "ValidationException")
    assert reason in message


def test_one_profile(local, rejected):
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6"
    by_arn = local.control.get_inference_profile(inferenceProfileIdentifier=arn)
    by_id = local.control.get_inference_profile(inferenceProfileIdentifier="us.anthropic.claude-sonnet-4-6")
    for profile in (by_arn, by_id):
        assert profile["inferenceProfileArn"] == arn
        assert profile["models"][0]["modelArn"].endswith("foundation-model/anthropic.claude-sonnet-4-6")
    status, name, _ = rejected(local.control.get_inference_profile, inferenceProfileIdentifier="us.nobody.nothing")
    assert (status, name) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("region", "prefixes"),
    [
        ("eu-central-1", {"eu", "global"}),
        ("ap-northeast-1", {"apac", "jp", "global"}),
        ("ap-southeast-2", {"apac", "au", "global"}),
        ("ap-south-1", {"apac", "global"}),
        ("sa-east-1", {"global"}),
    ],
)
def test_a_region_has_its_own_profiles(region, prefixes):
    system = [profile for profile in Shelf(region).profiles.values() if profile.kind == "SYSTEM_DEFINED"]
    assert {profile.id.split(".")[0] for profile in system} == prefixes
    assert all(f":{region}:" in profile.arn for profile in system)


def test_another_region_over_the_wire(start, wire, rejected):
    with start(region="eu-central-1") as europe:
        call = {"messages": [wire.user("hello")]}
        assert europe.runtime.converse(modelId="eu.anthropic.claude-sonnet-4-6", **call)["stopReason"] == "end_turn"
        assert rejected(europe.runtime.converse, modelId="us.anthropic.claude-sonnet-4-6", **call)[0] == 400
