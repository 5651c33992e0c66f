"""Tests of the catalogue of models: requests to AWS, failures, and refreshes."""

import datetime
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from extproc.aws.catalogue_keeper import CatalogueKeeper, ListingDeniedError, ListingError
from extproc.aws.sdk.models import fetch, list_models
from extproc.bedrock.catalogue import Catalogue, Target
from extproc.bedrock.listing import FoundationModel, Listing
from extproc.bedrock.seed import catalogue_of, seed, seed_date

REGION = "us-east-1"
WHEN = datetime.datetime(2026, 2, 17, tzinfo=datetime.UTC)
END = datetime.datetime(2027, 3, 31, 23, tzinfo=datetime.UTC)
SONNET, NOVA = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012:"

SUMMARIES: list[dict[str, Any]] = [
    {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}",
        "modelId": SONNET,
        "modelName": "Claude Sonnet 4.6",
        "providerName": "Anthropic",
        "inputModalities": ["TEXT", "IMAGE"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "inferenceTypesSupported": ["INFERENCE_PROFILE"],
        "modelLifecycle": {"status": "LEGACY", "startOfLifeTime": WHEN, "endOfLifeTime": END},
    },
    {"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}", "modelId": NOVA},
]


def profile(name: str, *models: str, kind: str = "SYSTEM_DEFINED") -> dict[str, Any]:
    resource = "inference-profile" if kind == "SYSTEM_DEFINED" else "application-inference-profile"
    return {
        "inferenceProfileName": name,
        "inferenceProfileId": name,
        "inferenceProfileArn": f"{ACCOUNT}{resource}/{name}",
        "models": [{"modelArn": model} for model in models],
        "status": "ACTIVE",
        "type": kind,
        "createdAt": WHEN,
    }


def foundation(model: str, region: str = REGION) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


@pytest.fixture
def bedrock(aws: Callable[..., None]) -> Iterator[Stubber]:
    """Return a real client whose stubbed responses are checked against botocore's service model."""
    client = boto3.client("bedrock", region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stubber:
        yield stubber


def listed(bedrock: Stubber) -> Listing:
    session: Any = SimpleNamespace(create_client=lambda *_, **__: bedrock.client)
    listing = list_models(REGION, session)
    bedrock.assert_no_pending_responses()
    return listing


def stub_profiles(bedrock: Stubber, kind: str, pages: list[list[dict[str, Any]]]) -> None:
    for number, page in enumerate(pages):
        reply: dict[str, Any] = {"inferenceProfileSummaries": page}
        parameters: dict[str, Any] = {"typeEquals": kind, "maxResults": 1000}
        if number:
            parameters["nextToken"] = str(number)
        if number + 1 < len(pages):
            reply["nextToken"] = str(number + 1)
        bedrock.add_response("list_inference_profiles", reply, parameters)


def test_fetch_reads_models_and_every_page_of_both_kinds_of_profiles(bedrock: Stubber) -> None:
    bedrock.add_response("list_foundation_models", {"modelSummaries": SUMMARIES}, {})
    regional = profile(f"us.{SONNET}", foundation(SONNET), foundation(SONNET, "us-west-2"))
    worldwide = profile(f"global.{SONNET}", "arn:aws:bedrock:::foundation-model/" + SONNET)
    stub_profiles(bedrock, "SYSTEM_DEFINED", [[regional], [worldwide]])
    mine = profile("mine", foundation(SONNET), kind="APPLICATION")
    custom = profile("custom", f"{ACCOUNT}custom-model/x/y", kind="APPLICATION")
    stub_profiles(bedrock, "APPLICATION", [[mine, custom]])

    listing = listed(bedrock)
    models, catalogue = listing.models, catalogue_of(listing)

    assert models[0] == FoundationModel(
        SONNET,
        outputs=frozenset({"TEXT"}),
        inputs=frozenset({"TEXT", "IMAGE"}),
        inference=frozenset({"INFERENCE_PROFILE"}),
        created=int(WHEN.timestamp()),
        shutdown="2027-03-31",
    )
    assert catalogue.targets(SONNET) == (Target(f"us.{SONNET}", SONNET), Target(f"global.{SONNET}", SONNET))
    assert catalogue.targets(mine["inferenceProfileArn"]) == (
        Target(mine["inferenceProfileArn"], SONNET, arn=mine["inferenceProfileArn"]),
    )
    assert catalogue.targets(custom["inferenceProfileArn"]) == (
        Target(custom["inferenceProfileArn"], None, arn=custom["inferenceProfileArn"]),
    )
    assert {entry.id: entry.shutdown for entry in catalogue.entries()} == {
        SONNET: "2027-03-31",
        f"us.{SONNET}": "2027-03-31",
        f"global.{SONNET}": "2027-03-31",
        mine["inferenceProfileArn"]: "2027-03-31",
        custom["inferenceProfileArn"]: "",
    }
    assert {entry.created for entry in catalogue.entries()} == {int(WHEN.timestamp())}


def test_a_summary_of_the_required_members_only(bedrock: Stubber) -> None:
    bedrock.add_response("list_foundation_models", {"modelSummaries": SUMMARIES[1:]}, {})
    stub_profiles(bedrock, "SYSTEM_DEFINED", [[]])
    stub_profiles(bedrock, "APPLICATION", [[]])
    assert listed(bedrock).models == (FoundationModel(NOVA, frozenset(), inference=frozenset()),)


@pytest.mark.parametrize("denied", ["models", "profiles", "both"])
def test_a_missing_permission_is_named(bedrock: Stubber, denied: str) -> None:
    def reply(operation: str, is_denied: bool, response: dict[str, Any]) -> None:
        if is_denied:
            bedrock.add_client_error(operation, "AccessDeniedException", http_status_code=403)
        else:
            bedrock.add_response(operation, response)

    reply("list_foundation_models", denied != "profiles", {"modelSummaries": []})
    reply("list_inference_profiles", denied != "models", {"inferenceProfileSummaries": []})
    if denied == "models":
        bedrock.add_response("list_inference_profiles", {"inferenceProfileSummaries": []})
    with pytest.raises(ListingDeniedError) as caught:
        listed(bedrock)
    actions = {"models": "bedrock:ListFoundationModels", "profiles": "bedrock:ListInferenceProfiles"}
    assert set(caught.value.actions) == ({actions[denied]} if denied in actions else set(actions.values()))


def test_other_error_responses_are_no_missing_permissions(bedrock: Stubber) -> None:
    bedrock.add_client_error("list_foundation_models", "UnrecognizedClientException", http_status_code=403)
    with pytest.raises(ListingError, match="UnrecognizedClientException") as caught:
        listed(bedrock)
    assert caught.value.kind == "UnrecognizedClientException"


def test_a_response_that_is_not_awss_is_reported_too() -> None:
    session: Any = SimpleNamespace(create_client=lambda *_, **__: SimpleNamespace(list_foundation_models=dict))
    with pytest.raises(ListingError, match="modelSummaries") as caught:
        list_models(REGION, session)
    assert caught.value.kind == "KeyError"


# --- with real requests ------------------------------------------------------------------------------------------


class HalfDenyingControlPlane(BaseHTTPRequestHandler):
    """A control plane that permits the list of models and denies that of profiles."""

    def do_GET(self) -> None:
        permitted = self.path == "/foundation-models"
        body = json.dumps({"modelSummaries": []} if permitted else {"message": "not authorized"}).encode()
        self.send_response(200 if permitted else 403)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if not permitted:
            self.send_header("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Discard the log line."""


@pytest.fixture
def control_plane() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfDenyingControlPlane) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_over_the_wire(aws: Callable[..., None], control_plane: str) -> None:
    aws(AWS_ENDPOINT_URL_BEDROCK=control_plane, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    with pytest.raises(ListingDeniedError, match=r"allow it bedrock:ListInferenceProfiles$"):
        fetch(REGION)


# --- the built-in list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "parameters", "targets"),
    [
        ("us-east-1", SONNET, [f"us.{SONNET}", f"global.{SONNET}"]),
        ("eu-west-1", SONNET, [f"eu.{SONNET}", f"global.{SONNET}"]),
        ("us-east-1", NOVA, [NOVA, f"us.{NOVA}"]),
        ("eu-west-1", NOVA, [f"eu.{NOVA}"]),
        ("us-gov-west-1", "anthropic.claude-sonnet-5", ["us-gov.anthropic.claude-sonnet-5"]),
        ("us-east-1", "amazon.titan-embed-text-v1", ["amazon.titan-embed-text-v1"]),
        ("us-east-1", "amazon.titan-embed-text-v2:0", ["amazon.titan-embed-text-v2:0"]),
        ("us-east-1", "cohere.embed-multilingual-v3", ["cohere.embed-multilingual-v3"]),
        ("us-west-2", "cohere.embed-v4:0", ["us.cohere.embed-v4:0", "global.cohere.embed-v4:0"]),
        ("us-east-1", "amazon.nova-2-multimodal-embeddings-v1:0", ["amazon.nova-2-multimodal-embeddings-v1:0"]),
    ],
)
def test_seed(region: str, parameters: str, targets: list[str]) -> None:
    assert [target.model_id for target in seed(region).targets(parameters)] == targets


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "us-gov-west-1", "af-south-1"])
def test_everything_in_the_seed_can_be_listed_and_called_in_its_region(region: str) -> None:
    catalogue = seed(region)
    assert len(catalogue.entries()) > 30
    for entry in catalogue.entries():
        assert entry.targets
        assert all(target.foundation and not target.guessed for target in entry.targets)
        assert region != "eu-central-1" or not entry.id.startswith(("us.", "apac."))


# --- keeping -----------------------------------------------------------------------------------------------------

LIVE = Catalogue.build([FoundationModel("live.model", frozenset({"TEXT"}))], (), REGION)
LATER = Catalogue.build([FoundationModel("later.model", frozenset({"TEXT"}))], (), REGION)
DENIED = ListingDeniedError(("bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles"))
UNREACHABLE = ListingError("EndpointConnectionError", "Could not connect to https://bedrock.us-east-1.amazonaws.com")


class ScriptedAws:
    """A scripted AWS: each response is a catalogue or an exception. Records the keeper's catalogues and waits."""

    def __init__(self, *responses: Catalogue | Exception) -> None:
        self.responses = list(responses)
        self.catalogues: list[Catalogue] = []
        self.waits: list[float] = []

    def fetch(self, region: str) -> Catalogue:
        assert region == REGION
        reply = self.responses.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return not self.responses

    def keeper(self, refresh_seconds: float = 3600.0) -> CatalogueKeeper:
        return CatalogueKeeper(REGION, refresh_seconds, self.catalogues.append, fetch=self.fetch, wait=self.wait)


def test_every_model_of_the_seed_has_a_date() -> None:
    listed = datetime.datetime.fromisoformat(f"{seed_date()}T00:00:00+00:00").timestamp()
    dates = {entry.id: entry.created for entry in seed("us-east-1").entries()}
    assert dates["anthropic.claude-sonnet-4-5-20250929-v1:0"] == 1_759_104_000
    assert dates["us.anthropic.claude-sonnet-4-5-20250929-v1:0"] == 1_759_104_000
    assert dates["amazon.nova-micro-v1:0"] == listed
    assert all(1_600_000_000 < date <= listed for date in dates.values())


def test_before_the_first_response_there_is_the_seed() -> None:
    keeper = ScriptedAws(LIVE).keeper()
    assert keeper.current.entries() == seed(REGION).entries()
    assert not keeper.attempted.is_set()


def test_each_response_replaces_the_last_and_is_passed_on() -> None:
    script = ScriptedAws(LIVE, LATER)
    keeper = script.keeper()
    keeper.run()
    assert keeper.current is LATER
    assert script.catalogues == [LIVE, LATER]
    assert script.waits == [3600.0, 3600.0]
    assert keeper.attempted.is_set()


def test_a_stale_catalogue_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    script = ScriptedAws(LIVE, UNREACHABLE, DENIED)
    keeper = script.keeper()
    keeper.run()
    assert keeper.current is LIVE
    assert script.catalogues == [LIVE]
    assert "using the last list (EndpointConnectionError: Could not connect" in caplog.text


def test_without_permission_the_seed_stays_and_one_line_names_the_actions(caplog: pytest.LogCaptureFixture) -> None:
    script = ScriptedAws(DENIED, DENIED, DENIED)
    keeper = script.keeper()
    keeper.run()
    assert keeper.current.entries() == seed(REGION).entries()
    assert script.catalogues == []
    assert keeper.attempted.is_set()
    [record] = caplog.records
    assert "using the built-in list of 2026-" in record.getMessage()
    assert "allow it bedrock:ListFoundationModels and bedrock:ListInferenceProfiles" in record.getMessage()


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    throttled = ListingError("ThrottlingException", "slow down")
    ScriptedAws(UNREACHABLE, UNREACHABLE, throttled, throttled, LIVE, LATER, UNREACHABLE).keeper().run()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" ")[0] for line in lines] == ["no", "no", "listing", "no"]
    assert "ThrottlingException" in lines[1]
    assert "works again" in lines[2]
    assert "using the last list" in lines[3]


def test_failures_are_tried_again_soon_and_then_less_often() -> None:
    script = ScriptedAws(*[UNREACHABLE] * 6, LIVE, UNREACHABLE)
    script.keeper(refresh_seconds=200.0).run()
    assert script.waits == [15.0, 30.0, 60.0, 120.0, 200.0, 200.0, 200.0, 15.0]


def test_a_short_interval_is_never_exceeded() -> None:
    script = ScriptedAws(UNREACHABLE)
    script.keeper(refresh_seconds=2.0).run()
    assert script.waits == [2.0]


def test_a_response_that_is_not_awss_does_not_end_the_keeper(caplog: pytest.LogCaptureFixture) -> None:
    script = ScriptedAws(KeyError("modelSummaries"), LIVE)
    keeper = script.keeper()
    keeper.run()
    assert keeper.current is LIVE
    assert "KeyError" in caplog.text


def test_the_thread_refreshes_and_stops() -> None:
    kept = threading.Event()
    keeper = CatalogueKeeper(REGION, 3600.0, lambda _: kept.set(), fetch=lambda _: LIVE)
    keeper.start()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "catalogue"]
    assert thread.daemon
    assert kept.wait(30)
    assert keeper.current is LIVE
    keeper.stop()
    thread.join(30)
    assert not thread.is_alive()
