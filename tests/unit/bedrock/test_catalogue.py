"""Targets of a requested model id, and the list of models."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.bedrock.catalogue import Catalogue, Target, geographies, profile_id
from extproc.bedrock.listing import FoundationModel, InferenceProfile
from extproc.bedrock.model_ids import LONGEST_REMEMBERED

ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"
SONNET, NOVA, TITAN = "anthropic.claude-sonnet-4-6", "amazon.nova-lite-v1:0", "amazon.titan-embed-text-v1"
ALL = ("us", "eu", "apac", "jp", "au", "ca", "global")


def model(
    name: str, *, inference: str = "ON_DEMAND", outputs: str = "TEXT", inputs: str = "TEXT", **more: int
) -> FoundationModel:
    kinds = (frozenset(text.split()) for text in (outputs, inputs, inference))
    return FoundationModel(name, *kinds, **more)


def system(geography: str, name: str, *, created: int = 0) -> InferenceProfile:
    full = f"{geography}.{name}"
    return InferenceProfile(full, f"{ACCOUNT}inference-profile/{full}", (name,), created=created)


def application(name: str, *foundations: str) -> InferenceProfile:
    return InferenceProfile(name, f"{ACCOUNT}application-inference-profile/{name}", foundations, "APPLICATION", 7)


MODELS = (
    model(SONNET, inference="INFERENCE_PROFILE", created=5),
    model(NOVA, inference="ON_DEMAND INFERENCE_PROFILE"),
    model(NOVA + ":300k", inference="PROVISIONED"),
    model(TITAN, outputs="EMBEDDING"),
    model(TITAN + ":2:8k", outputs="EMBEDDING", inference="PROVISIONED"),
)
PROFILES = (*(system(geography, SONNET) for geography in ALL), system("us", NOVA), application("a1b2", SONNET))


def ids(model_id: str, region: str = "us-east-1", profiles: tuple[InferenceProfile, ...] = PROFILES) -> list[str]:
    return [target.model_id for target in Catalogue.build(MODELS, profiles, region).targets(model_id)]


def only(model_id: str) -> Target:
    """Return the single target, apart from its ARN, which it has where `model_id` is one of us-east-1."""
    [target] = Catalogue.build(MODELS, PROFILES, "us-east-1").targets(model_id)
    here = model_id.startswith(("arn:aws:bedrock:us-east-1:", "arn:aws:sagemaker:us-east-1:"))
    assert target.arn == (model_id if here and "/neo." not in model_id else None)
    return replace(target, arn=None)


# --- a bare id ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "order"),
    [
        ("us-east-1", "us global"),
        ("us-west-2", "us global"),
        ("eu-central-1", "eu global"),
        ("ap-northeast-1", "jp apac global"),
        ("ap-northeast-3", "jp apac global"),
        ("ap-northeast-2", "apac global"),
        ("ap-southeast-2", "au apac global"),
        ("ap-southeast-4", "au apac global"),
        ("ap-southeast-1", "apac global"),
        ("ap-south-1", "apac global"),
        ("ca-central-1", "ca us global"),
        ("sa-east-1", "us global"),
        ("mx-central-1", "us global"),
        ("me-central-1", "apac global"),
        ("il-central-1", "eu global"),
        ("af-south-1", "global"),
        ("somewhere-else-1", "global"),
    ],
)
def test_a_profile_only_model_goes_to_its_regions_geography_then_global(region: str, order: str) -> None:
    assert ids(SONNET, region) == [f"{geography}.{SONNET}" for geography in order.split()]


def test_only_listed_profiles_are_candidates() -> None:
    assert ids(SONNET, "ap-northeast-1", (system("global", SONNET), system("eu", SONNET))) == [f"global.{SONNET}"]


def test_govcloud_knows_its_own_profiles_only() -> None:
    assert geographies("us-gov-west-1") == ("us-gov",)
    assert ids(SONNET, "us-gov-west-1", (system("us-gov", SONNET),)) == [f"us-gov.{SONNET}"]


def test_without_a_matching_profile_the_id_is_sent_unchanged() -> None:
    assert ids(SONNET, "us-east-1", (system("eu", SONNET),)) == [SONNET]
    assert ids(SONNET, "us-east-1", (application("a1b2", SONNET),)) == [SONNET]


def test_a_model_on_demand_serves_itself_before_its_profiles() -> None:
    assert ids(NOVA) == [NOVA, f"us.{NOVA}"]
    assert ids(TITAN) == [TITAN]


def test_a_model_that_is_known_by_its_profile_only() -> None:
    assert ids("openai.gpt-6", "us-east-1", (system("us", "openai.gpt-6"),)) == ["us.openai.gpt-6"]


def test_every_candidate_knows_the_model_behind_it() -> None:
    targets = Catalogue.build(MODELS, PROFILES, "us-east-1").targets(SONNET)
    assert {target.foundation for target in targets} == {SONNET}


@pytest.mark.parametrize(
    ("model_id", "base"),
    [(NOVA + ":300k", NOVA), (NOVA + ":24k", NOVA), (TITAN + ":2:8k", TITAN), (NOVA + ":mm", NOVA)],
)
def test_a_context_size_is_no_other_model(model_id: str, base: str) -> None:
    assert ids(model_id) == ids(base)


@pytest.mark.parametrize("word", ["haiku", "nova", "m", "k", "24", "24kk", "12345k", "4k-x", "MM", "513", "1m"])
@pytest.mark.parametrize("name", [NOVA, TITAN + ":2", f"us.{NOVA}", SONNET + ":0"])
def test_any_other_word_is_no_context_size(name: str, word: str) -> None:
    model_id = f"{name}:{word}"
    target = only(model_id)
    assert (target.model_id, target.guessed) == (model_id, True)
    assert target.foundation == name.removeprefix("us.").removesuffix(
        ":2" if TITAN in name else ":0" * (SONNET in name)
    )


@pytest.mark.parametrize("revision", [":123", ":x", ":", ":-1"])
def test_a_revision_has_two_digits_at_most(revision: str) -> None:
    assert ids(f"{TITAN}{revision}:8k") == [f"{TITAN}{revision}:8k"]


def test_a_context_of_a_form_that_is_new_is_one_where_aws_lists_it() -> None:
    listed = model(NOVA + ":1m", inference="PROVISIONED")
    assert Catalogue.build([*MODELS, listed], (), "us-east-1").targets(NOVA + ":1m") == (Target(NOVA, NOVA),)


def test_a_context_size_on_an_unknown_model() -> None:
    assert only("meta.llama9-v1:0:128k") == Target("meta.llama9-v1:0:128k", "meta.llama9-v1:0", guessed=True)


def test_a_context_size_that_is_on_demand_itself_is_called_by_its_name() -> None:
    sized = model(NOVA + ":24k")
    targets = Catalogue.build([*MODELS, sized], (), "us-east-1").targets(NOVA + ":24k")
    assert targets == (Target(NOVA + ":24k", NOVA + ":24k"),)


# --- profiles, ARNs, strangers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_id", "foundation"),
    [
        # profiles
        (f"us.{SONNET}", SONNET),
        (f"us-gov.{SONNET}", SONNET),
        (f"eu.{NOVA}", NOVA),
        (f"eu.{NOVA}:300k", NOVA),
        ("a1b2", SONNET),
        # ARNs
        (f"arn:aws:bedrock:eu-west-1::foundation-model/{SONNET}", SONNET),
        (f"arn:aws:bedrock:eu-west-1::foundation-model/{NOVA}:300k", NOVA),
        (f"{ACCOUNT}inference-profile/us.{SONNET}", SONNET),
        (f"arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.{SONNET}", SONNET),
        (f"{ACCOUNT}application-inference-profile/a1b2", SONNET),
        (f"{ACCOUNT}application-inference-profile/zzzz", None),
        (f"{ACCOUNT}provisioned-model/abc", None),
        (f"{ACCOUNT}custom-model/{NOVA}/abc", None),
        (f"{ACCOUNT}custom-model-deployment/abc", None),
        (f"{ACCOUNT}imported-model/abc", None),
        (f"{ACCOUNT}default-prompt-router/{SONNET}:1", None),
        (f"{ACCOUNT}prompt/x.{SONNET}", None),
        (f"arn:aws:sagemaker:us-east-1:1:endpoint/x.{SONNET}", None),
        (f"ARN:aws:bedrock:us-east-1::foundation-model/{SONNET}", None),
        ("arn:", None),
        # strangers
        ("gpt-4o", None),
        ("us.", None),
        ("us.foo", None),
        ("", None),
    ],
)
def test_an_id_is_called_as_requested(model_id: str, foundation: str | None) -> None:
    assert only(model_id) == Target(model_id, foundation)


@pytest.mark.parametrize(
    ("model_id", "foundation"),
    [
        (f"neo.{SONNET}", SONNET),
        (f"neo.{NOVA}:300k", NOVA),
        (f"neo.{NOVA}:24k", NOVA),
        ("us.anthropic.claude-next", "anthropic.claude-next"),
        ("neo.anthropic.claude-next", "neo.anthropic.claude-next"),
        (f"us.us.{SONNET}", SONNET),
        (f"us.neo.{SONNET}", SONNET),
        (f"{SONNET}:0", SONNET),
        (f"us.{SONNET}:0:neo:0", SONNET),
        (f"us.{SONNET}:1:2:3:4", f"{SONNET}:1:2:3:4"),
        (f"US.{SONNET}", SONNET),
        (SONNET.upper(), SONNET.upper()),
        (f"{ACCOUNT}inference-profile/us.anthropic.claude-next", "anthropic.claude-next"),
        (f"{ACCOUNT}inference-profile/neo.{SONNET}", SONNET),
        ("arn:aws:bedrock:eu-west-1::foundation-model/mistral.mistral-next", "mistral.mistral-next"),
        ("mistral.mistral-next", "mistral.mistral-next"),
    ],
)
def test_a_target_derived_from_the_form_is_marked_as_a_guess(model_id: str, foundation: str) -> None:
    assert only(model_id) == Target(model_id, foundation, guessed=True)


def test_a_model_that_only_other_regions_have_is_no_guess() -> None:
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1", ["a.elsewhere"])
    assert catalogue.targets("eu.a.elsewhere") == (Target("eu.a.elsewhere", "a.elsewhere"),)
    assert catalogue.targets("a.elsewhere:0:8k") == (Target("a.elsewhere:0:8k", "a.elsewhere"),)
    assert "a.elsewhere" not in [entry.id for entry in catalogue.entries()]


def test_a_long_id_is_not_remembered() -> None:
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1")
    model_id = "a." + "b" * LONGEST_REMEMBERED
    assert catalogue.targets(model_id) is not catalogue.targets(model_id)
    assert catalogue.targets(model_id[:-2]) is catalogue.targets(model_id[:-2])


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn"), ("eusc-de-east-1", "aws-eusc")],
)
def test_the_arn_of_a_foundation_model_is_its_id(region: str, partition: str) -> None:
    profiles = [system(geography, SONNET) for geography in ("us", "us-gov", "global")]
    catalogue = Catalogue.build(MODELS, profiles, region)
    arn = f"arn:{partition}:bedrock:{region}::foundation-model/{SONNET}"
    by_arn = catalogue.targets(arn)
    assert by_arn == tuple(replace(target, arn=arn) for target in catalogue.targets(SONNET))
    assert [target.model_id for target in by_arn] == [f"{name}.{SONNET}" for name in geographies(region)]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:bedrock:eu-west-1::foundation-model/{}",
        "arn:aws:bedrock:::foundation-model/{}",
        "arn:aws:bedrock:us-east-1:123456789012:foundation-model/{}",
        "arn:aws-us-gov:bedrock:us-east-1::foundation-model/{}",
        "arn:aws-haiku:bedrock:us-east-1::foundation-model/{}",
        "arn::bedrock:us-east-1::foundation-model/{}",
    ],
)
def test_an_arn_that_the_region_has_not_is_resolved_no_further(arn: str) -> None:
    arn = arn.format(SONNET)
    [target] = Catalogue.build(MODELS, PROFILES, "us-east-1").targets(arn)
    assert (target.model_id, target.foundation in (SONNET, None)) == (arn, True)


@pytest.mark.parametrize(
    ("asked", "arn"),
    [
        (
            f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}:haiku",
            f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}",
        ),
        (f"{ACCOUNT}inference-profile/us.{SONNET}:0:24k", f"{ACCOUNT}inference-profile/us.{SONNET}"),
        (f"{ACCOUNT}inference-profile/us.haiku.{SONNET}", f"{ACCOUNT}inference-profile/us.{SONNET}"),
        (f"{ACCOUNT}inference-profile/haiku.{SONNET}", None),
        (
            f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}:2:8k",
            f"arn:aws:bedrock:us-east-1::foundation-model/{TITAN}",
        ),
    ],
)
def test_the_arn_of_a_target_has_no_text_around_the_models_id(asked: str, arn: str | None) -> None:
    [target] = Catalogue.build(MODELS, PROFILES, "us-east-1").targets(asked)
    assert target.arn == arn


def test_a_profile_over_several_models_is_opaque() -> None:
    mixed = application("mixed", SONNET, NOVA)
    assert Catalogue.build(MODELS, [mixed], "us-east-1").targets(mixed.arn) == (Target(mixed.arn, None, arn=mixed.arn),)


def test_profile_id() -> None:
    assert profile_id(f"{ACCOUNT}inference-profile/global.{SONNET}") == f"global.{SONNET}"
    assert profile_id(f"{ACCOUNT}application-inference-profile/a1b2") is None
    assert profile_id(f"global.{SONNET}") is None


pieces = st.sampled_from(
    [
        SONNET,
        NOVA,
        "us.",
        "global.",
        "arn:aws:bedrock:",
        "us-east-1:",
        ":",
        "/",
        "foundation-model/",
        "a1b2",
        ":0",
        ":8k",
    ]
)


@given(st.text() | st.lists(pieces | st.text(max_size=3), max_size=40).map("".join))
def test_any_string_has_a_target(model_id: str) -> None:
    targets = Catalogue.build(MODELS, PROFILES, "us-east-1").targets(model_id)
    assert targets
    assert all(target.model_id == model_id or target.foundation in (SONNET, NOVA, TITAN) for target in targets)


# --- the list ----------------------------------------------------------------------------------------------------


def listed(*models: FoundationModel, profiles: tuple[InferenceProfile, ...] = ()) -> list[str]:
    return [entry.id for entry in Catalogue.build(models, profiles, "us-east-1").entries()]


def test_listed_models_are_sorted_and_can_be_called() -> None:
    catalogue = Catalogue.build(MODELS, PROFILES, "us-east-1")
    entries = catalogue.entries()
    names = [entry.id for entry in entries]
    application_arn = f"{ACCOUNT}application-inference-profile/a1b2"
    assert names == sorted([SONNET, NOVA, TITAN, f"us.{NOVA}", *(f"{geo}.{SONNET}" for geo in ALL), application_arn])
    assert all(entry.targets == catalogue.targets(entry.id) for entry in entries)


def test_owner_and_time() -> None:
    entries = {entry.id: entry for entry in Catalogue.build(MODELS, PROFILES, "us-east-1").entries()}
    assert (entries[SONNET].owned_by, entries[SONNET].created) == ("anthropic", 5)
    assert (entries[f"us.{NOVA}"].owned_by, entries[f"us.{NOVA}"].created) == ("amazon", 0)
    arn = f"{ACCOUNT}application-inference-profile/a1b2"
    assert (entries[arn].owned_by, entries[arn].created) == ("anthropic", 7)


@pytest.mark.parametrize(
    ("candidate", "is_listed"),
    [
        (model("a.chat"), True),
        (model("a.chat", inputs="TEXT IMAGE"), True),
        (model("a.embed", outputs="EMBEDDING"), True),
        (model("a.omni", outputs="TEXT IMAGE"), True),
        (model("a.image", outputs="IMAGE"), False),
        (model("a.video", outputs="VIDEO"), False),
        (model("a.sonic", outputs="SPEECH TEXT", inputs="SPEECH"), False),
        (model("amazon.rerank-v1:0"), False),
        (model("a.bought", inference="PROVISIONED"), False),
        (model("a.profile", inference="INFERENCE_PROFILE"), False),
    ],
)
def test_which_models_are_listed(candidate: FoundationModel, is_listed: bool) -> None:
    assert listed(candidate) == ([candidate.id] if is_listed else [])


def test_the_profiles_of_image_models_are_not_listed() -> None:
    image = model("a.image", outputs="IMAGE", inference="INFERENCE_PROFILE")
    assert listed(image, profiles=(system("us", "a.image"),)) == []


def test_a_profile_of_a_model_that_is_not_listed_is_listed() -> None:
    assert listed(profiles=(system("us", "a.new"), application("mixed", "a.b", "c.d"))) == [
        f"{ACCOUNT}application-inference-profile/mixed",
        "us.a.new",
    ]


# --- residency ---------------------------------------------------------------------------------------------------

APP = "arn:aws:bedrock:{region}:123456789012:application-inference-profile/x"


def resident(model_id: str, region: str, *served: str) -> bool:
    """Whether a target stays in the geography of `region`, where an application profile is served in `served`."""
    mine = InferenceProfile("x", APP.format(region=region), (SONNET,), "APPLICATION", regions=served)
    catalogue = Catalogue.build(MODELS, (*PROFILES, mine), region)
    return bool(catalogue.resident((Target(model_id, None),)))


@pytest.mark.parametrize(
    ("region", "staying"),
    [
        ("us-east-1", "us"),
        ("eu-central-1", "eu"),
        ("ca-central-1", "ca"),
        ("ap-northeast-1", "jp"),
        ("ap-southeast-2", "au"),
        ("ap-southeast-1", "apac"),
        ("af-south-1", ""),
        ("xx-new-1", ""),
    ],
)
def test_profiles_of_the_smallest_geography_alone_stay(region: str, staying: str) -> None:
    assert [geography for geography in ALL if resident(f"{geography}.{SONNET}", region)] == staying.split()
    assert resident(SONNET, region), "on demand, a model is served in the region"
    assert resident(NOVA + ":300k", region)


@pytest.mark.parametrize(
    ("region", "served", "stays"),
    [
        ("us-east-1", "us-east-1", True),
        ("us-east-1", "us-east-1 us-west-2", True),
        ("us-east-1", "us-east-1 eu-west-1", False),
        ("us-east-1", "us-gov-west-1", False),
        ("ap-southeast-1", "ap-southeast-1 ap-northeast-1", True),
        ("ap-northeast-1", "ap-southeast-1 ap-northeast-1", False),
        ("eu-west-1", "eu-west-1 ", False),
        ("eu-west-1", "", False),
        ("af-south-1", "af-south-1", True),
        ("af-south-1", "me-south-1", False),
    ],
)
def test_an_application_profile_stays_where_its_models_are(region: str, served: str, stays: bool) -> None:
    assert resident(APP.format(region=region), region, *(served.split(" ") if served else ())) is stays


@given(st.text() | st.builds("{}.{}".format, st.sampled_from(ALL), st.text()))
def test_what_is_not_known_does_not_stay(model_id: str) -> None:
    known = model_id in {model.id for model in MODELS} or model_id.partition(".")[2] in {model.id for model in MODELS}
    assert known or not resident(model_id, "us-east-1")
