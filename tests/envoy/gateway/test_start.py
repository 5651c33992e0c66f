"""Errors that keep `up` from starting are one message with its remedy, and no process is left running."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from extproc.build import compiled

Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run `up` with this gateway.yaml, and return its exit code and its output."""

    def run(config: str, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        (tmp_path / "gateway.yaml").write_text(config)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        files = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        environment = {**clean, **files, "AWS_EC2_METADATA_DISABLED": "true", **(env or {})}
        command = [sys.executable, "-m", "extproc", "up", "--config", "gateway.yaml", "--listen", "127.0.0.1:0", *args]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            output = ""
            for line in process.stdout:
                output += line
                if "is ready" in line:
                    process.terminate()
        return process.returncode, output

    return run


def startup_error(done: tuple[int, str]) -> str:
    """Return the reason why it did not start."""
    code, output = done
    assert code == 2, output
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("organisation: {}\n", "organisation"),
        ("organisations:\n  acme:\n    models: {alow: []}\n", "organisations.acme.models.alow"),
        ("tokens:\n  - {name: ci, sha: abc}\n", "tokens[0].sha"),
        ("streaming: {keepalive: 5}\n", "streaming.keepalive"),
        ("limits: {request_bytes: 5}\n", "limits.request_bytes"),
        ("workers: many\n", "workers"),
    ],
)
def test_a_wrong_key_or_value_is_rejected_with_its_path(start: Start, config: str, path: str) -> None:
    assert f"gateway.yaml: {path}: " in startup_error(start(config, "--upstream", "local"))


def test_a_configuration_that_is_not_there_is_named(start: Start) -> None:
    assert "elsewhere.yaml" in startup_error(start("{}", "--config", "elsewhere.yaml"))


def test_aws_without_credentials_names_the_variables_to_set(start: Start) -> None:
    output = startup_error(start("region: us-east-1", "--upstream", "aws"))
    assert "AWS_ACCESS_KEY_ID" in output
    assert "AWS_BEARER_TOKEN_BEDROCK" in output


def test_aws_without_a_region_names_the_places_to_set_one(start: Start) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert "AWS_REGION" in startup_error(start("{}", "--upstream", "aws", env=keys))


def test_an_endpoint_that_is_no_url_is_named(start: Start) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for url in ("bedrock.example.com", "ftp://x", "http://x/path", "http://u:p@x"):
        output = startup_error(start("region: us-east-1", env={**keys, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url}))
        assert "endpoint" in output


def test_a_ca_bundle_that_is_not_there_is_named(start: Start) -> None:
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CA_BUNDLE": "/nowhere/ca.pem"}
    assert "/nowhere/ca.pem" in startup_error(start("region: us-east-1", "--upstream", "aws", env=env))


def test_an_api_key_of_bedrocks_is_never_sent_in_plain_text(start: Start) -> None:
    env = {"AWS_BEARER_TOKEN_BEDROCK": "test-api-key", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    output = startup_error(start("region: us-east-1", "--upstream", "aws", env=env))
    assert "AWS_BEARER_TOKEN_BEDROCK" in output
    assert "https" in output
    assert "test-api-key" not in output


def test_an_unfit_address_is_a_usage_error(start: Start) -> None:
    for listen in ("nonsense", "example.com:80", "127.0.0.1:99999", "unix:/tmp/x.sock"):
        assert "--listen" in startup_error(start("{}", "--upstream", "local", "--listen", listen))


def test_the_workers_are_built_as_what_is_tested(start: Start) -> None:
    code, output = start("{}", "--upstream", "local")
    assert code == 0, output
    assert f"; {'compiled' if compiled() else 'interpreted'}" in output
