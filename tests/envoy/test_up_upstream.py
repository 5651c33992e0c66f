"""`oai-extproc up` and Bedrock: credentials, an endpoint of its own, and the certificate of that."""

import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import InternalServerError

from tests.envoy.gateway.servers import Front
from tests.envoy.test_up import DEADLINE, NOVA, client, user_messages, works

# AWS


@pytest.fixture
def bedrock(tmp_path: Path) -> Iterator[str]:
    """A Bedrock that the gateway did not start, as an emulator would be."""
    command = [sys.executable, "-m", "bedrock_local", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        yield match[0]
        process.terminate()


KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret"}


def test_credentials_and_an_endpoint(start_gateway: Any, bedrock: str) -> None:
    settings = {**KEYS, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock, "AWS_ENDPOINT_URL_BEDROCK": bedrock}
    gateway = start_gateway(env=settings, args=["--upstream", "auto"])
    assert f"upstream    {bedrock} (AWS, credentials from env)" in gateway.log()
    assert gateway.pids("bedrock_local") == []
    works(gateway)


def test_an_endpoint_behind_tls(start_gateway: Any, bedrock: str, tmp_path: Path) -> None:
    """SNI, the name in the certificate, and AWS_CA_BUNDLE, for Envoy and for the worker."""
    certificate, key = certified(tmp_path)
    with behind_tls(bedrock, certificate, key) as port:
        url = f"https://localhost:{port}"
        settings = {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_CA_BUNDLE": str(certificate)}
        gateway = start_gateway(env=settings, args=["--upstream", "aws"])
        works(gateway)


def test_a_certificate_of_somebody_else(start_gateway: Any, bedrock: str, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    with behind_tls(bedrock, certificate, key) as port:
        settings = {**KEYS, "AWS_ENDPOINT_URL": f"https://localhost:{port}"}
        gateway = start_gateway(env=settings, args=["--upstream", "aws"])
        with pytest.raises(InternalServerError) as failed:
            client(gateway).chat.completions.create(model=NOVA, messages=user_messages("Hello!"))
        assert failed.value.status_code == 503


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: it makes the certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=local"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)
    return certificate, key


@contextmanager
def behind_tls(url: str, certificate: Path, key: Path) -> Iterator[int]:
    """Run TLS in front of a plain address; yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    front = Front(context, int(url.rpartition(":")[2]))
    try:
        yield front.port
    finally:
        front.close()
