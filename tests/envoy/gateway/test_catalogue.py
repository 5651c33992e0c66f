"""The list of models while AWS rejects the request for it, returns it, and goes away."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CLAUDE = "anthropic.claude-sonnet-4-6"
NEW = "amazon.brand-new-model-v9:0"

DENIED = (403, {"message": "User: arn:aws:iam::1:user/x is not authorized to perform: bedrock:ListFoundationModels"})
FAILED = (500, {"message": "Something went wrong."})
MODELS = {
    "modelSummaries": [
        {
            "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
            "modelId": name,
            "providerName": "Amazon",
            "inputModalities": ["TEXT"],
            "outputModalities": ["TEXT"],
            "inferenceTypesSupported": ["ON_DEMAND"],
            "responseStreamingSupported": True,
            "modelLifecycle": {"status": "ACTIVE"},
        }
        for name in (NEW, "amazon.nova-micro-v1:0")
    ]
}


class ControlPlane:
    """AWS's control plane with errors on demand, which the local Bedrock's never has."""

    def __init__(self) -> None:
        self.response: tuple[int, dict[str, Any]] = DENIED
        self.requests = 0
        outer = self

        class ControlPlaneHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                status, body = outer.response
                if status == 200 and "/inference-profiles" in self.path:
                    body = {"inferenceProfileSummaries": []}
                self.send_response(status)
                if status == 403:
                    self.send_header("x-amzn-errortype", "AccessDeniedException")
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), ControlPlaneHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    plane = ControlPlane()
    yield plane
    plane.close()


def test_the_models_are_the_built_in_ones_then_awss_and_then_the_last_that_were_had(
    start_gateway: Any, client_of: Any, bedrock: Any, local_of: Any, control_plane: ControlPlane, eventually: Any
) -> None:
    """A single gateway for all steps, because each step is about what the one before it left."""
    environment = {**bedrock.environment, "AWS_ENDPOINT_URL_BEDROCK": control_plane.url}
    gateway = start_gateway({"catalogue": {"refresh_seconds": 0.2}}, env=environment, args=["--upstream", "aws"])
    client, local = client_of(gateway), local_of(bedrock.url)

    gateway.wait_for("may not list models: allow it bedrock:ListFoundationModels and bedrock:ListInferenceProfiles")
    assert {CLAUDE, f"us.{CLAUDE}", "amazon.nova-micro-v1:0"} < listed(client)
    assert NEW not in listed(client)
    local.forget()
    assert client.chat("Hello!", model=CLAUDE).json()["model"] == CLAUDE
    assert [call["model"] for call in local.calls()] == [f"us.{CLAUDE}"]

    control_plane.response = (200, MODELS)
    eventually(lambda: NEW in listed(client))
    assert listed(client) == {NEW, "amazon.nova-micro-v1:0"}

    position, requests = len(gateway.log()), control_plane.requests
    control_plane.response = FAILED
    gateway.wait_for("no list of Bedrock's models in us-east-1, using the last list", position)
    eventually(lambda: control_plane.requests > requests + 6)
    assert NEW in listed(client)

    position = len(gateway.log())
    control_plane.close()
    gateway.wait_for("using the last list", position)
    assert NEW in listed(client)
    assert client.chat("Hello!").status == 200


def listed(client: Any) -> set[str]:
    """The ids in the list."""
    return {model["id"] for model in client.exchange("GET", "/oai/v1/models").json()["data"]}
