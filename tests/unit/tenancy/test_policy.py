"""The models that an organisation may call: patterns against all names of a model."""

import fnmatch
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.bedrock.catalogue import Catalogue, Target
from extproc.bedrock.listing import FoundationModel, InferenceProfile
from extproc.config import Models
from extproc.tenancy.policy import ModelRules, Narrowed, choose

TEXT = frozenset({"TEXT"})
PROFILE_ONLY = frozenset({"INFERENCE_PROFILE"})
SONNET, OPUS, NOVA = "anthropic.claude-sonnet-4-6", "anthropic.claude-opus-5", "amazon.nova-micro-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"
MINE = ACCOUNT + "application-inference-profile/a1b2c3"
PROVISIONED = ACCOUNT + "provisioned-model/abc"


def system(geography: str, model: str) -> InferenceProfile:
    name = f"{geography}.{model}"
    return InferenceProfile(name, f"{ACCOUNT}inference-profile/{name}", (model,))


CATALOGUE = Catalogue.build(
    [FoundationModel(SONNET, TEXT, inference=PROFILE_ONLY), FoundationModel(NOVA, TEXT)],
    [
        system("us", SONNET),
        system("global", SONNET),
        system("us", NOVA),
        InferenceProfile("a1b2c3", MINE, (SONNET,), kind="APPLICATION"),
    ],
    "us-east-1",
)


def served(models: ModelRules, model_id: str) -> str | None:
    target = choose(models, model_id, CATALOGUE.targets(model_id))
    return target.model_id if target else None


def allow(*patterns: str) -> Models:
    return Models(allow=patterns)


def deny(*patterns: str) -> Models:
    return Models(deny=patterns)


@pytest.mark.parametrize(
    ("models", "model_id", "outcome"),
    [
        # the table in docs/configuration.md
        (allow("anthropic.*"), SONNET, f"us.{SONNET}"),
        (allow("anthropic.*"), f"us.{SONNET}", f"us.{SONNET}"),
        (allow("anthropic.*"), f"global.{SONNET}", f"global.{SONNET}"),
        (allow("anthropic.*"), MINE, MINE),
        (allow("us.*"), NOVA, f"us.{NOVA}"),
        (deny("global.*"), SONNET, f"us.{SONNET}"),
        (deny("us.*"), SONNET, f"global.{SONNET}"),
        (deny("us.*", "global.*"), SONNET, None),
        (deny("anthropic.claude-opus-*"), f"eu.{OPUS}", None),
        (deny("anthropic.claude-opus-*"), PROVISIONED, None),
        (allow(ACCOUNT + "provisioned-model/*"), PROVISIONED, PROVISIONED),
        # the defaults
        (Models(), SONNET, f"us.{SONNET}"),
        (Models(), PROVISIONED, PROVISIONED),
        (Models(), "made-up", "made-up"),
        (allow(), SONNET, None),
        # allow
        (allow("anthropic.*"), NOVA, None),
        (allow("anthropic.*"), PROVISIONED, None),
        (allow(SONNET), f"us.{SONNET}", f"us.{SONNET}"),
        (allow(f"us.{SONNET}"), f"global.{SONNET}", None),
        (allow(f"global.{SONNET}"), SONNET, f"global.{SONNET}"),
        (allow("anthropic.*"), f"{ACCOUNT}inference-profile/us.{SONNET}", f"{ACCOUNT}inference-profile/us.{SONNET}"),
        (allow("us.*"), f"{ACCOUNT}inference-profile/us.{SONNET}", f"{ACCOUNT}inference-profile/us.{SONNET}"),
        (allow("amazon.*"), "arn:aws:bedrock:us-east-1::foundation-model/" + NOVA, NOVA),
        (allow("anthropic.*"), "xx.anthropic.claude-next", None),
        (allow("anthropic.*"), "anthropic.claude-next", "anthropic.claude-next"),
        (allow("anthropic.*"), SONNET.upper(), None),
        (allow("Anthropic.*"), SONNET, None),
        # text that a caller writes beside a model's id is no name of it
        (allow("*opus*"), SONNET + ":0:opus", None),
        (allow("*opus*"), SONNET + ":opus", None),
        (allow("*opus*"), f"us.{SONNET}:0:opus", None),
        (allow("*opus*"), f"us.opus.{SONNET}", None),
        (allow("*24k*"), f"us.{SONNET}:0:24k", None),
        (allow("us.*"), f"us.{SONNET}:0:24k", f"us.{SONNET}:0:24k"),
        (allow("*:24k"), NOVA + ":24k", None),
        (allow(NOVA + ":24k"), NOVA + ":24k", NOVA),
        (allow("amazon.*"), NOVA + ":24k", NOVA),
        (allow("*opus*"), f"arn:aws-opus:bedrock:us-east-1::foundation-model/{SONNET}", None),
        (allow("*opus*"), f"arn:aws:bedrock:opus-1::foundation-model/{SONNET}", None),
        (allow("arn:*opus*"), f"arn:aws:bedrock:opus-1::foundation-model/{SONNET}", None),
        (allow("*opus*"), f"arn:aws:bedrock:opus-1:123456789012:inference-profile/us.{SONNET}", None),
        (allow("arn:*opus*"), f"arn:aws:bedrock:opus-1:123456789012:inference-profile/us.{SONNET}", None),
        (allow("*20251001*"), f"arn:aws:bedrock:us-east-1:202510010000:inference-profile/us.{SONNET}", None),
        (allow("*opus*"), f"opus.{SONNET}", None),
        (allow("*opus*"), f"{ACCOUNT}inference-profile/opus.{SONNET}", None),
        (allow("*opus*"), "arn:aws:bedrock:opus-1:123456789012:provisioned-model/abc", None),
        (allow("amazon.*"), f"amazon.{SONNET}", None),
        (allow("*us*"), f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}", f"us.{NOVA}"),
        (allow("*1:0"), f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", None),
        # ARNs
        (allow("arn:*"), f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}", NOVA),
        (
            allow("arn:aws:bedrock:*::foundation-model/amazon.*"),
            f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}",
            NOVA,
        ),
        (
            allow("arn:aws:bedrock:*::foundation-model/amazon.*"),
            f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}",
            None,
        ),
        (allow("arn:aws:bedrock:*::foundation-model/*"), NOVA, None),
        (
            allow(ACCOUNT + "inference-profile/us.*"),
            f"{ACCOUNT}inference-profile/us.{NOVA}",
            f"{ACCOUNT}inference-profile/us.{NOVA}",
        ),
        (allow(ACCOUNT + "inference-profile/us.*"), f"us.{NOVA}", None),
        (allow("*application-inference-profile/*"), MINE, MINE),
        (allow("*:provisioned-model/*"), PROVISIONED, PROVISIONED),
        (allow("*"), PROVISIONED.replace("us-east-1", "eu-west-1"), PROVISIONED.replace("us-east-1", "eu-west-1")),
        (allow("arn:*:24k"), f"{ACCOUNT}inference-profile/us.{SONNET}:0:24k", None),
        (allow("arn:*:opus"), f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}:opus", None),
        (allow("arn:*"), PROVISIONED.replace("us-east-1", "eu-west-1"), None),
        # deny
        (deny("global.*"), f"{ACCOUNT}inference-profile/global.{SONNET}", None),
        (deny(SONNET), MINE, None),
        (deny(SONNET), "a1b2c3", None),
        (deny(SONNET), f"us.{SONNET}", None),
        (deny("amazon.*"), SONNET, f"us.{SONNET}"),
        (deny(NOVA), NOVA + ":128k", None),
        (deny("anthropic.*"), "us.anthropic.claude-next", None),
        (deny("anthropic.*"), "xx.anthropic.claude-next", None),
        (deny("anthropic.*"), "a1b2c3d4", None),
        (deny("anthropic.*"), "ARN:aws:bedrock:us-east-1::foundation-model/" + SONNET, None),
        (deny("anthropic.*"), f"{ACCOUNT}prompt/x.amazon.nova", None),
        (deny("Anthropic.*"), SONNET, None),
        (deny("amazon.*"), "mistral.mistral-next", None),
        (deny("amazon.*"), SONNET.upper(), None),
        (deny("amazon.*"), f"US.{SONNET}", None),
        (deny("amazon.*"), f"us.us.{SONNET}", None),
        (deny("amazon.*"), f"xx.{SONNET}", None),
        (deny("amazon.*"), f"eu.{SONNET}", f"eu.{SONNET}"),
        (deny("amazon.*"), f"{ACCOUNT}inference-profile/eu.{SONNET}", f"{ACCOUNT}inference-profile/eu.{SONNET}"),
        (deny("arn:*"), MINE, None),
        (deny("nothing"), NOVA, NOVA),
        (Models(allow=("anthropic.*",), deny=("anthropic.*",)), SONNET, None),
        (Models(allow=(PROVISIONED,), deny=("anthropic.*",)), PROVISIONED, None),
    ],
)
def test_a_requested_model_is_served_as_the_rules_permit(models: Models, model_id: str, outcome: str | None) -> None:
    assert served(models, model_id) == outcome


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.", True),
        ("a.*", "axb", False),
        ("a.?", "a.b", True),
        ("a.?", "a.", False),
        ("a.[bc]", "a.b", False),
        ("a.[bc]", "a.[bc]", True),
        ("A.*", "a.b", False),
        ("a", "a.b", False),
        ("*.b", "a.b\n", False),
        ("a|b", "a", False),
        ("*a*a*", "a.a", True),
        ("*a*a", "a", False),
        ("?*", "", False),
    ],
)
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    target = Target(name, name)
    assert choose(Models(allow=(pattern,)), name, (target,)) == (target if matches and name else None)


@given(
    st.lists(st.text(alphabet="ab.*?[]!-\n", max_size=8), max_size=3),
    st.text(alphabet="ab.[]!-\n", min_size=1, max_size=8),
)
@example(["*a*b*"], "ab")
@example(["a*a"], "a")
def test_patterns_are_fnmatch_without_its_brackets(patterns: list[str], name: str) -> None:
    target = Target(name, name)
    expected = any(fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)
    assert (choose(Models(allow=tuple(patterns)), name, (target,)) is target) == expected


def test_a_hostile_id_takes_no_longer_than_another() -> None:
    # Backtracking would take 10**20 steps here; a test that does not end is a test that fails.
    models = Models(allow=("*a*a*a*a*a*a*a*a*a*b",))
    assert choose(models, "a" * 20_000, (Target("a" * 20_000, None),)) is None


names = st.sampled_from([SONNET, OPUS, NOVA, f"us.{SONNET}", MINE, PROVISIONED, "made-up", "eu.a.b"]) | st.text(
    max_size=12
)
patterns = st.lists(st.sampled_from(["*", "anthropic.*", "us.*", "global.*", "arn:*", NOVA, "?*"]), max_size=3).map(
    tuple
)


@given(patterns, patterns, names)
def test_the_choice_is_one_of_the_targets_that_the_rules_permit(
    allowed: tuple[str, ...], denied: tuple[str, ...], model_id: str
) -> None:
    targets = CATALOGUE.targets(model_id)
    chosen = choose(Models(allow=allowed, deny=denied), model_id, targets)
    permitted = [target for target in targets if _permitted(allowed, denied, model_id, target)]
    assert chosen == (permitted[0] if permitted else None)


def _permitted(allowed: Sequence[str], denied: Sequence[str], model_id: str, target: Target) -> bool:
    """Apply the rules in their plainest form, as the oracle."""
    known = {model_id, target.model_id, target.foundation or model_id}
    allowable, arns = _names_of_what_is_called(target.model_id)
    known |= {name.rpartition("/")[2] for name in known if ":inference-profile/" in name}
    behind = {name.partition(".")[2] for name in known if not name.startswith("arn:")}

    def hit(names: set[str], globs: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, glob) for name in names if name for glob in globs)

    lower = {name.lower() for name in known | behind}
    unsure = target.foundation is None or target.guessed
    rejected = bool(denied) and (unsure or hit(lower, [glob.lower() for glob in denied]))
    by_arn = [glob for glob in allowed if glob.startswith("arn:")]
    return (model_id in allowed or hit(allowable, allowed) or hit(arns, by_arn)) and not rejected


OF_THIS_REGION = re.compile(r"arn:aws:(?:bedrock|sagemaker):us-east-1:.*", re.DOTALL)
WITH_AN_ID = re.compile(
    r"arn:(?:aws|aws-us-gov):bedrock:[^:]*:[^:]*:(?:foundation-model|inference-profile)/(.+)", re.DOTALL
)
PLACES = ("us", "eu", "apac", "jp", "au", "ca", "global", "us-gov", "amer", "in", "sa", "mx", "il", "me")
GEOGRAPHY = re.compile(rf"(?:{'|'.join(PLACES)})\.(.+\..+)", re.DOTALL)
LISTED = {SONNET: {SONNET}, NOVA: {NOVA}, MINE: {MINE, SONNET}, "a1b2c3": {"a1b2c3", SONNET}}
CONTEXT = re.compile(r"(.+):[0-9]{1,2}:(?:[0-9]{1,4}k|mm|512)", re.DOTALL)


def _names_of_what_is_called(called: str) -> tuple[set[str], set[str]]:
    """Return the names of an id or ARN by its form, and the ARNs that patterns of ARNs match, as the oracle.

    `called` is what Bedrock would be called with. It is no name of itself where a known model's id is in it.
    """
    if called in LISTED:
        return LISTED[called], {called} if called.startswith("arn:") else set()
    arns = {called} if OF_THIS_REGION.fullmatch(called) else set()
    if called[:4].lower() == "arn:":
        inside = WITH_AN_ID.fullmatch(called)
        if inside is None:
            return arns or {""}, arns
        names = _names_of_an_id(inside[1])
        before = called.removesuffix(inside[1])
        if before.endswith(":inference-profile/"):
            names = {name for name in names if "." not in name or name.partition(".")[0] in PLACES}
        return _names_of_an_id(inside[1]), {before + name for name in names} if arns else set()
    return _names_of_an_id(called), arns


def _names_of_an_id(name: str) -> set[str]:
    profile = GEOGRAPHY.fullmatch(name)
    model = profile[1] if profile else name
    if "." not in model or (profile is None and name.partition(".")[0] in PLACES):
        return {name}
    for text in (model, model.partition(".")[2]):
        for known in (SONNET, NOVA):
            if text == known or (text.startswith(known + ":") and text.count(":") - known.count(":") <= 3):
                model = known  # what is around a known model's id is nobody's
    behind = model.rpartition(":")[0] if model not in LISTED and CONTEXT.fullmatch(model) else model
    return {behind, f"{name.partition('.')[0]}.{behind}"} if profile else {behind}


WORDS = ("opus", "haiku", "nova", "24k", "20251001", "us", "aws", "4-6", "v1", "mm", ":0", ":24k", ".", "-", "*", "?")
ROUND = ("", ":0:opus", ":0:24k", ":24k", ":1:mm", ":0:512", ":opus", ".opus", "-opus")
REGIONS = ("us-east-1", "eu-west-1", "opus-1", "haiku", "24k", "")
PARTITIONS = ("aws", "aws-us-gov", "aws-opus", "aws-haiku", "awsnova", "")
ACCOUNTS = ("123456789012", "202510010000", "", "opus")
KINDS = ("foundation-model", "inference-profile", "application-inference-profile", "provisioned-model", "prompt-router")
MODEL_IDS = st.sampled_from([SONNET, NOVA, OPUS, "made-up", "a1b2c3"])
WRITTEN = st.builds(
    lambda *parts: "".join(parts),
    st.sampled_from(["", "us.", "eu.", "opus.", "haiku.", "us.opus."]),
    MODEL_IDS,
    st.sampled_from(ROUND),
)
REQUESTS = (
    WRITTEN
    | st.builds(
        lambda partition, region, account, kind, name: f"arn:{partition}:bedrock:{region}:{account}:{kind}/{name}",
        *(st.sampled_from(each) for each in (PARTITIONS, REGIONS, ACCOUNTS, KINDS)),
        WRITTEN,
    )
    | st.lists(st.sampled_from((*WORDS[:-2], SONNET, NOVA, "us.", ACCOUNT, "arn:aws:")), max_size=5).map("".join)
)
ALLOWED = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join).map(lambda text: f"*{text}*")
    | st.sampled_from(
        ["*", SONNET, NOVA, "anthropic.*", "*.nova-*", "arn:*", ACCOUNT + "*", "arn:*opus*", NOVA + ":24k"]
    )
    | st.builds("".join, st.lists(st.sampled_from((*WORDS, SONNET, "arn:")), min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
).map(tuple)


@settings(max_examples=500)
@given(ALLOWED, REQUESTS)
@example(("*opus*",), f"{SONNET}:0:opus")
@example(("*opus*",), f"arn:aws-opus:bedrock:us-east-1::foundation-model/{SONNET}")
@example(("*opus*",), f"arn:aws:bedrock:opus-1::foundation-model/{SONNET}")
@example(("*24k*",), f"{NOVA}:24k")
@example(("*20251001*",), f"arn:aws:bedrock:us-east-1:202510010000:inference-profile/us.{SONNET}")
@example(("*opus*",), f"opus.{SONNET}")
def test_what_is_called_is_allowed_by_its_own_names(allowed: tuple[str, ...], model_id: str) -> None:
    """For any list and any request: no text of the request's that is not called makes a model permitted."""
    target = choose(Models(allow=allowed), model_id, CATALOGUE.targets(model_id))
    if target is None or model_id in allowed:
        return
    names, arns = _names_of_what_is_called(target.model_id)
    if model_id == f"arn:aws:bedrock:us-east-1::foundation-model/{target.foundation}":
        arns = {model_id}
    globs = [glob for glob in allowed if not glob.startswith("arn:")]
    by_arn = [glob for glob in allowed if glob.startswith("arn:")]
    if target.model_id != model_id:
        names = {target.model_id, str(target.foundation)}
        assert str(target.foundation) in target.model_id
    assert any(fnmatch.fnmatchcase(name, glob) for name in names for glob in globs) or any(
        fnmatch.fnmatchcase(name, glob) for name in arns for glob in by_arn
    )


@settings(max_examples=300)
@given(ALLOWED, REQUESTS)
@example(("*opus*",), f"arn:aws-opus:bedrock:us-east-1::foundation-model/{SONNET}")
@example(("*24k*",), f"{NOVA}:24k")
def test_what_serves_a_spelling_serves_its_own_id_too(allowed: tuple[str, ...], model_id: str) -> None:
    """So `GET /models` has what can be called by any spelling, apart from patterns of ARNs and of the spelling."""
    rules = Models(allow=tuple(glob for glob in allowed if not glob.startswith("arn:") and glob != model_id))
    called = served(rules, model_id)
    if called in {*LISTED, f"us.{NOVA}", f"us.{SONNET}", f"global.{SONNET}"}:
        assert called is not None
        assert served(rules, called) == called


@given(patterns, names)
def test_more_deny_never_permits_more(denied: tuple[str, ...], model_id: str) -> None:
    targets = CATALOGUE.targets(model_id)
    if choose(Models(), model_id, targets) is None:
        assert choose(Models(deny=denied), model_id, targets) is None
    if choose(Models(deny=denied), model_id, targets) is not None:
        assert choose(Models(deny=denied[:1]), model_id, targets) is not None


@pytest.mark.parametrize(
    ("organisation", "token", "model_id", "outcome"),
    [
        (allow("*"), allow("anthropic.*"), SONNET, f"us.{SONNET}"),
        (allow("*"), allow("anthropic.*"), NOVA, None),
        (allow("anthropic.*"), allow("*"), NOVA, None),
        (allow("anthropic.*"), allow("amazon.*"), SONNET, None),
        (allow("*"), deny("us.*"), SONNET, f"global.{SONNET}"),
        (deny("us.*"), deny("global.*"), SONNET, None),
        (allow("*"), deny("anthropic.claude-opus-*"), PROVISIONED, None),
        (deny("anthropic.claude-opus-*"), allow(PROVISIONED), PROVISIONED, None),
        (allow("*"), allow(), NOVA, None),
    ],
)
def test_a_tokens_rules_narrow_its_organisations(
    organisation: Models, token: Models, model_id: str, outcome: str | None
) -> None:
    assert served(Narrowed(organisation, token), model_id) == outcome


SOME_RULES = st.builds(
    lambda allowed, denied: Models(allow=tuple(allowed), deny=tuple(denied)),
    st.lists(st.sampled_from(["*", "anthropic.*", "amazon.*", "us.*", "arn:*"])),
    st.lists(st.sampled_from(["global.*", "us.*", "*opus*", "anthropic.*"]), max_size=2),
)


@given(SOME_RULES, SOME_RULES, st.sampled_from([SONNET, NOVA, MINE, PROVISIONED, f"us.{SONNET}", f"global.{SONNET}"]))
def test_a_token_never_widens(organisation: Models, token: Models, model_id: str) -> None:
    target = choose(Narrowed(organisation, token), model_id, CATALOGUE.targets(model_id))
    both = [
        each
        for each in CATALOGUE.targets(model_id)
        if choose(organisation, model_id, (each,)) and choose(token, model_id, (each,))
    ]
    assert target == (both[0] if both else None)
