"""The lists of models of several regions and of a role, while AWS returns them and after it has stopped."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

ARN = "arn:aws:iam::111111111111:role/acme"
ORGANISATIONS = {
    "acme": {"region": "eu-central-1", "role": {"arn": ARN}},
    "umbrella": {"region": "eu-central-1"},
    "limited": {"models": {"deny": ["*-denied-*"]}},
    "closed": {},
}
ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
ENDS = "2031-05-01T00:00:00Z"


class AnAws:
    """AWS's control plane and STS; each region and each identity has a model of its own, or AWS `fails`."""

    def __init__(self) -> None:
        self.fails = False
        self.lists: list[str] = []
        outer = self

        class AwsHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.get(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.send(self, 500 if outer.fails else 200, "text/xml", ASSUMED)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), AwsHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def get(self, request: BaseHTTPRequestHandler) -> None:
        """List the models of who asks: `maker.REGION-KEY`, and one that a rule denies."""
        scope = re.search(r"Credential=(\w+)/\d+/([\w-]+)/", request.headers["authorization"])
        assert scope is not None
        self.lists.append(scope[2])
        models = [f"maker.{scope[2]}-{scope[1].lower()}", "maker.one-denied-here"]
        summaries: list[Any] = [
            {
                "modelArn": "arn",
                "modelId": name,
                "inputModalities": ["TEXT"],
                "outputModalities": ["TEXT"],
                "inferenceTypesSupported": ["ON_DEMAND"],
                "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": ENDS},
            }
            for name in models
        ]
        profiles = "/inference-profiles" in request.path
        body = {"inferenceProfileSummaries": []} if profiles else {"modelSummaries": summaries}
        self.send(request, 500 if self.fails else 200, "application/json", json.dumps(body))

    def send(self, request: BaseHTTPRequestHandler, status: int, kind: str, text: str) -> None:
        request.send_response(status)
        request.send_header("content-type", kind)
        request.send_header("content-length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def an_aws() -> Iterator[AnAws]:
    aws = AnAws()
    yield aws
    aws.close()


def listed(client: Any, token: str, organisation: str) -> dict[str, Any]:
    response = client.exchange("GET", "/oai/v1/models", token=token, headers=[("openai-organization", organisation)])
    return {model["id"]: model for model in response.json()["data"]}


def test_each_region_and_role_has_its_list_which_outlives_awss_failure(
    start_gateway: Any, client_of: Any, bedrock: Any, an_aws: AnAws, eventually: Any
) -> None:
    """A single gateway for all steps, because each step is about what the one before it left."""
    environment = {
        **bedrock.environment,
        "AWS_ENDPOINT_URL_BEDROCK": an_aws.url,
        "AWS_ENDPOINT_URL_STS": an_aws.url,
    }
    settings = {"regions": ["eu-central-1"], "organisations": ORGANISATIONS, "catalogue": {"refresh_seconds": 0.5}}
    gateway = start_gateway(settings, env=environment, args=["--upstream", "aws"])
    client = client_of(gateway)
    key = bedrock.environment["AWS_ACCESS_KEY_ID"].lower()
    expected = {
        ("both", "acme"): {"maker.eu-central-1-asiarole", "maker.one-denied-here"},
        ("both", "umbrella"): {f"maker.eu-central-1-{key}", "maker.one-denied-here"},
        ("limited", "limited"): {f"maker.us-east-1-{key}"},
    }
    for who, names in expected.items():
        eventually(lambda who=who, names=names: listed(client, *who).keys() == names)
    assert {model["shutdown_date"] for model in listed(client, "both", "acme").values()} == {"2031-05-01"}

    an_aws.fails = True
    for region in ("us-east-1", "eu-central-1"):
        gateway.wait_for(f"no list of Bedrock's models in {region}, using the last list")
    before = len(an_aws.lists)
    eventually(lambda: len(an_aws.lists) > before)
    assert {who: {*listed(client, *who)} for who in expected} == expected
