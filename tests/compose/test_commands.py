"""Both commands, `docker compose` and `docker-compose` 1.29, bring up both stacks from the same files."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

ROOT = Path(__file__).parents[2]
HELLO: Any = [{"role": "user", "content": "Hello!"}]
NOVA = "amazon.nova-micro-v1:0"

FILES = ("docker-compose.yml", "docker-compose.aws.yml")

AWS = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(params=["docker compose", "docker-compose"])
def command(request: pytest.FixtureRequest, engine: Any) -> list[str]:
    words: list[str] = request.param.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {request.param}")
    return words


def test_the_stack_as_it_is_in_order(command: list[str], start_stack: Callable[..., Any]) -> None:
    stack = start_stack(command)
    assert stack.services() == {"envoy-config", "bedrock-local", "extproc", "envoy"}
    with stack.client() as client:
        response = client.chat.completions.create(model=NOVA, messages=HELLO)
    assert 'You said: "Hello!"' in (response.choices[0].message.content or "")
    started_at = {
        name: stack.container(name).attrs["State"]["StartedAt"] for name in ("bedrock-local", "extproc", "envoy")
    }
    assert started_at["bedrock-local"] < started_at["extproc"] < started_at["envoy"]
    assert stack.container("envoy-config").attrs["State"]["FinishedAt"] < started_at["envoy"]
    # The worker had the local Bedrock's list of models, and did not have to fall back to its own.
    assert "built-in list" not in stack.container("extproc").logs().decode()


def test_aws_in_its_place(command: list[str], start_stack: Callable[..., Any]) -> None:
    """Without a way to AWS: the test looks at the host that it would call, for whom, and at its error."""
    nowhere = {
        "AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:1",
    }
    stack = start_stack(command, *FILES, env={**AWS, **nowhere})
    assert stack.services() == {"envoy-config", "extproc", "envoy"}
    assert "AWS credentials: environment" in stack.container("extproc").logs().decode()
    with stack.client() as client:
        assert "anthropic.claude-sonnet-4-6" in {model.id for model in client.models.list()}
        with pytest.raises(openai.InternalServerError) as rejected:
            client.chat.completions.create(model=NOVA, messages=HELLO)
    assert rejected.value.code == "bedrock_unreachable"


def test_aws_played_by_a_container(start_stack: Callable[..., Any], tmp_path: Path) -> None:
    """A call all the way: the local Bedrock as another server, which takes the environment's keys alone."""
    played = tmp_path / "played.yml"
    played.write_text(PLAYED)
    theirs = {"AWS_ENDPOINT_URL_BEDROCK": "http://aws:9000", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://aws:9000"}
    stack = start_stack(["docker", "compose"], *FILES, str(played), env={**AWS, **theirs})
    assert stack.services() == {"envoy-config", "extproc", "envoy", "aws"}
    assert stack.responds()


PLAYED = """
services:
  aws:
    image: oai-extproc-bedrock-local:latest
    command: [--listen, "0.0.0.0:9000", --region, eu-central-1, --access-key, AKIDEXAMPLE, --secret-key, secret]
"""


def test_a_missing_folder_is_reported_and_not_made(command: list[str], images: str, tmp_path: Path) -> None:
    nowhere = tmp_path / "my-gateway"
    project = f"oai-test-{os.getpid()}-nowhere"
    settings = {"COMPOSE_PROJECT_NAME": project, "OAI_PORT": "", "OAI_CONFIG": str(nowhere), "DOCKER_BUILDKIT": "0"}
    environment = {**os.environ, **settings}

    def compose(*words: str) -> "subprocess.CompletedProcess[str]":
        whole = [*command, *words]
        return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    try:
        done = compose("up", "--detach")
    finally:
        compose("down", "--volumes")
    assert done.returncode != 0
    assert f"bind source path does not exist: {nowhere}" in done.stdout + done.stderr
    assert not nowhere.exists()


def test_aws_without_a_region_names_the_variable_to_export(command: list[str]) -> None:
    named = [word for file in FILES for word in ("--file", file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [*command, *named, "config", "--quiet"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "export AWS_REGION, the region whose Bedrock is to be called" in done.stderr
