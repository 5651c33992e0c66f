"""What is in the images, and what is not."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

ROOT = Path(__file__).parents[2]
IMAGES = {"oai-extproc:latest": "extproc", "oai-extproc-bedrock-local:latest": "bedrock_local"}

SUMS = """
import hashlib, importlib.util, pathlib
folder = pathlib.Path(importlib.util.find_spec("{package}").origin).parent
for path in sorted(folder.rglob("*")):
    if path.is_file() and path.suffix not in (".pyc", ".so"):
        print(path.relative_to(folder), hashlib.sha256(path.read_bytes()).hexdigest())
"""

UNCOMPILED = """
import importlib.util, pathlib, sysconfig
def compiled(path):
    cached = pathlib.Path(importlib.util.cache_from_source(path))
    return cached.exists() and cached.read_bytes()[4:8] in (b"\\0\\0\\0\\0", b"\\1\\0\\0\\0")
site = pathlib.Path(sysconfig.get_path("purelib"))
print(*[path for path in site.rglob("*.py") if not compiled(path)])
"""

pytestmark = pytest.mark.usefixtures("images")


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def inside(engine: docker.DockerClient) -> Callable[..., str]:
    """What a program prints in a container of the image, which is as locked up as the stack's."""

    def inside(image: str, *command: str) -> str:
        output: bytes = engine.containers.run(
            image,
            entrypoint=list(command),
            command=[],
            remove=True,
            read_only=True,
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
        )
        return output.decode()

    return inside


def test_the_build_says_how_large_they_are_and_how_fast_they_start(images: str) -> None:
    for name in IMAGES:
        assert re.search(rf"^{name} +\d+ MB, \d+ MB above its base; serves \d+\.\d\d s after its start$", images, re.M)


def test_who_they_run_as(image: str, inspect: Callable[[str], dict[str, Any]], inside: Callable[..., str]) -> None:
    assert inspect(image)["Config"]["User"] == "65532:65532"
    assert inside(image, "sh", "-c", "id -u; id -g").split() == ["65532", "65532"]


def test_what_they_say_of_themselves(image: str, inspect: Callable[[str], dict[str, Any]]) -> None:
    labels = inspect(image)["Config"]["Labels"]
    said = {name: labels[f"org.opencontainers.image.{name}"] for name in ("title", "version", "licenses", "revision")}
    version = re.search(r'__version__ = "(.*)"', (ROOT / "extproc" / "__init__.py").read_text())
    assert version is not None
    assert said.pop("revision")
    assert said == {"title": image.removesuffix(":latest"), "version": version[1], "licenses": "Apache-2.0"}
    assert {"org.opencontainers.image.source", "org.opencontainers.image.description"} <= labels.keys()


def test_nothing_in_them_installs_or_compiles(image: str, inside: Callable[..., str]) -> None:
    names = "pip pip3 uv gcc cc g++ c++ cpp clang ld as make wheel easy_install"
    assert inside(image, "sh", "-c", f"for name in {names}; do command -v $name || true; done") == ""
    modules = ["pip", "setuptools", "wheel", "ensurepip", "pkg_resources"]
    script = f"import importlib.util; print([name for name in {modules} if importlib.util.find_spec(name)])"
    for python in ("python3", "$(readlink -f $(command -v python3))"):
        assert inside(image, "sh", "-c", f'{python} -I -c "{script}"').strip() == "[]"
    wheels = "find / -xdev \\( -name 'pip-*.whl' -o -name 'setuptools-*.whl' \\) 2>/dev/null || true"
    assert inside(image, "sh", "-c", wheels) == ""


def test_they_hold_this_very_code_and_none_of_each_other(image: str, inside: Callable[..., str]) -> None:
    package = IMAGES[image]
    listed = inside(image, "python3", "-c", SUMS.format(package=package))
    tree = ROOT / package
    mine = {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert dict(line.split() for line in listed.splitlines()) == mine
    [other] = set(IMAGES.values()) - {package}
    script = f"import importlib.util; print(importlib.util.find_spec({other!r}))"
    assert inside(image, "python3", "-c", script).strip() == "None"


def test_everything_is_compiled(image: str, inside: Callable[..., str]) -> None:
    assert inside(image, "python3", "-c", UNCOMPILED).split() == []


def test_the_hot_rooms_are_machine_code(inside: Callable[..., str]) -> None:
    script = "from extproc.build import compiled; print(compiled())"
    assert inside("oai-extproc:latest", "python3", "-I", "-c", script).strip() == "True"
    assert inside("oai-extproc-bedrock-local:latest", "sh", "-c", "find /opt/oai -name '*mypyc*'") == ""


def test_what_is_installed_is_what_was_locked(image: str, inside: Callable[..., str]) -> None:
    script = (
        "import importlib.metadata as m\n"
        "for each in m.distributions(): print(each.name.lower().replace('_', '-'), each.version)"
    )
    listed = inside(image, "python3", "-I", "-c", script).splitlines()
    locked = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "deploy/docker/requirements.txt").read_text(), re.M)
    wanted = {f"{name.lower().replace('_', '-')} {version}" for name, version in locked}
    assert {line for line in listed if not line.startswith("oai-extproc ")} == wanted


def test_the_entrypoint_is_the_command_line(engine: docker.DockerClient) -> None:
    output = engine.containers.run("oai-extproc:latest", ["--version"], remove=True, read_only=True)
    assert output.startswith(b"oai-extproc, version ")


def test_a_worker_without_configuration_says_what_is_missing(engine: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError) as failure:
        engine.containers.run("oai-extproc:latest", remove=True, read_only=True, network_mode="none")
    assert failure.value.exit_status == 2
    assert b"/etc/oai/gateway.yaml" in failure.value.stderr
    assert b"Traceback" not in failure.value.stderr
