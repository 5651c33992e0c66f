"""https for callers: the chart's pod in mode `gateway`, as processes, with a Secret's certificate that is renewed."""

import base64
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import self_signed
from tests.deploy.conftest import KUBERNETES, Objects
from tests.deploy.pods import Pod, healthy, mount, placed, up
from tests.deploy.programs import running
from tests.envoy.gateway.conftest import eventually  # noqa: F401
from tests.helm.conftest import Template

DEMO = "qc_kubernetes-demo-for-trying-it-out-only-00000"
NAME = "oai.example.com"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        yield Path(name)


@pytest.fixture
def objects(template: Template) -> Objects:
    """The chart's objects, and the Secret of tokens that is the user's."""
    objects = template("local", "--set=service.tls.existingSecret=callers,service.port=443")
    tokens = (KUBERNETES / "overlays" / "local" / "tokens.yaml").read_bytes()
    data = {"tokens.yaml": base64.b64encode(tokens).decode()}
    objects.append({"kind": "Secret", "metadata": {"name": "oai-tokens"}, "data": data})
    return objects


def certificate(folder: Path) -> dict[str, bytes]:
    """Return the content of a Secret with a new certificate for `NAME`."""
    folder.mkdir()
    self_signed(folder, NAME)
    return {"tls.crt": (folder / "cert.pem").read_bytes(), "tls.key": (folder / "key.pem").read_bytes()}


@contextmanager
def bedrock(folder: Path) -> Iterator[str]:
    """The URL of a local Bedrock."""
    command = [sys.executable, "-u", "-m", "bedrock_local", "--listen", "127.0.0.1:0"]
    with running(command, folder / "bedrock.log", {}) as program:
        yield program.wait_for(r"listens on (http://\S+)")[1]


def served(pod: Pod) -> bytes:
    """The certificate that callers get."""
    return ssl.get_server_certificate(("127.0.0.1", pod.ports[0])).encode()


def models(pod: Pod, secret: dict[str, bytes]) -> list[str]:
    """The models that a caller gets who trusts the certificate of a Secret, by its name."""
    context = ssl.create_default_context(cadata=secret["tls.crt"].decode())
    transport = httpx.HTTPTransport(verify=context)
    with httpx.Client(transport=transport) as http:
        url = f"https://127.0.0.1:{pod.ports[0]}/oai/v1"
        response = http.get(
            f"{url}/models",
            headers={"Authorization": f"Bearer {DEMO}"},
            extensions={"sni_hostname": NAME},
        )
    return [model["id"] for model in response.json()["data"]]


def hook(objects: Objects, pod: Pod, mounted: Path) -> "subprocess.CompletedProcess[str]":
    """Run what `helm test` runs in its pod."""
    [container] = objects.one("Pod")["spec"]["containers"]
    program = container["args"][0].replace("/etc/oai/callers", str(mounted))
    environment = {**os.environ, "GATEWAY": f"127.0.0.1:{pod.ports[0]}", "TOKEN": DEMO}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_callers_speak_https_and_get_a_renewed_certificate(objects: Objects, folder: Path, eventually: Any) -> None:  # noqa: F811
    mounted, old, new = folder / "callers", certificate(folder / "old"), certificate(folder / "new")
    mount(mounted, old)
    with bedrock(folder) as url:
        services = {
            "http://oai-gateway-bedrock-local:9000": url,
            "/etc/oai/callers": str(mounted),
            "--tls-secrets /run/oai ": f"--tls-secrets {folder}/run ",
        }
        with placed(objects, "oai-gateway", folder, services) as pod, up(pod):
            eventually(lambda: healthy(pod) == 200)
            assert models(pod, old)
            assert hook(objects, pod, mounted).returncode == 0
            mount(mounted, new)
            eventually(lambda: served(pod) == new["tls.crt"])
            assert models(pod, new)
            (folder / "old" / "tls.crt").write_bytes(old["tls.crt"])
            assert "CERTIFICATE_VERIFY_FAILED" in hook(objects, pod, folder / "old").stderr


def test_the_service_is_https(objects: Objects) -> None:
    [port] = objects.one("Service", "oai-gateway")["spec"]["ports"]
    assert (port["name"], port["port"], port["appProtocol"]) == ("https", 443, "https")
