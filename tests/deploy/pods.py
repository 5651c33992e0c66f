"""A Deployment's pod as processes: its containers' own command lines, in the kubelet's order, with its own files.

What is another here: paths are below a folder, ports are free ones of 127.0.0.1, names of Services are addresses.
Nothing else of a command line is touched. Mounted ConfigMaps and Secrets are laid out and swapped as the kubelet does.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.deploy.conftest import Object, Objects
from tests.deploy.programs import environment, envoy, free_ports, running
from tests.programs import DEADLINE, Program


def mount(folder: Path, files: Mapping[str, bytes]) -> None:
    """A version of a mounted volume: a folder of its own, links to it through `..data`, which is swapped at once."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..version-{len(list(folder.iterdir()))}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")


@dataclass
class Pod:
    """A pod; `spec` is that of a Deployment's template."""

    spec: Object
    folder: Path
    ports: tuple[int, int]
    services: Mapping[str, str]
    programs: dict[str, Program] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}/oai/v1"

    @property
    def health(self) -> str:
        """Return the URL that Envoy's probes and hooks use."""
        return f"http://127.0.0.1:{self.ports[1]}"

    def container(self, name: str) -> Object:
        both = [*self.spec["initContainers"], *self.spec["containers"]]
        (container,) = (each for each in both if each["name"].removeprefix("oai-") == name)
        return container

    def here(self, words: list[str]) -> list[str]:
        """A command line as it is on this machine."""
        places = {
            "/run/oai/": f"{self.folder}/run/",
            "/etc/oai/config": str(self.folder / "config"),
            "/etc/oai/tokens": str(self.folder / "tokens"),
            **self.services,
        }
        for public, private in (
            (8080, self.ports[0]),
            (10080, self.ports[0]),
            (8081, self.ports[1]),
            (10081, self.ports[1]),
        ):
            places |= {f"{ip}:{public} ": f"127.0.0.1:{private} " for ip in ("0.0.0.0", "127.0.0.1")}
            places[f"/dev/tcp/localhost/{public} "] = f"/dev/tcp/127.0.0.1/{private} "
        for old, new in places.items():
            words = [word.replace(old, new) for word in words]
        return [envoy() if word == "envoy" else word for word in words]

    def command(self, name: str) -> list[str]:
        container = self.container(name)
        return self.here([*container["command"], *container["args"]])

    def environment(self, name: str) -> dict[str, str]:
        """The container's variables; its PATH is where our own programs are."""
        named = {each["name"]: self.here([each["value"]])[0] for each in self.container(name).get("env", [])}
        return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **named}

    def run(self, command: list[str], name: str) -> "subprocess.CompletedProcess[str]":
        """A command to its end, as in the container: an init container's, a probe's, a hook's."""
        env = environment(self.environment(name))
        return subprocess.run(
            self.here(command), env=env, capture_output=True, text=True, timeout=2 * DEADLINE, check=False
        )

    def render(self) -> str:
        """Run the first init container, and return what it leaves for Envoy."""
        done = self.run(self.command("render"), "render")
        assert done.returncode == 0, done.stderr
        return (self.folder / "run" / "envoy.yaml").read_text()

    @contextmanager
    def started(self, name: str) -> Iterator[Program]:
        with running(self.command(name), self.folder / f"{name}.log", self.environment(name)) as program:
            self.programs[name] = program
            yield program


@contextmanager
def placed(objects: Objects, deployment: str, folder: Path, services: Mapping[str, str]) -> Iterator[Pod]:
    """A pod whose volumes are mounted and none of whose containers runs."""
    spec = objects.one("Deployment", deployment)["spec"]["template"]["spec"]
    (folder / "run").mkdir()
    config = {name: text.encode() for name, text in objects.one("ConfigMap", "oai-gateway")["data"].items()}
    mount(folder / "config", {name: _relative(text) for name, text in config.items()})
    secret = objects.one("Secret", "oai-tokens")["data"]
    mount(folder / "tokens", {name: base64.b64decode(text) for name, text in secret.items()})
    with free_ports(2) as (first, second):
        yield Pod(spec, folder, (first, second), services)


def _relative(config: bytes) -> bytes:
    """The token files are where they are here."""
    return config.replace(b"tokens_from: /etc/oai/tokens", b"tokens_from: ../tokens")


@contextmanager
def up(pod: Pod) -> Iterator[Pod]:
    """The pod with its containers running."""
    pod.render()
    with ExitStack() as stack:
        worker = stack.enter_context(pod.started("extproc"))
        worker.wait_for("serving on unix:")
        stack.enter_context(pod.started("envoy"))
        yield pod


def healthy(pod: Pod) -> int:
    """Return the status that the readiness probe gets."""
    probe = pod.container("envoy")["readinessProbe"]["httpGet"]
    try:
        return httpx.get(pod.health + probe["path"]).status_code
    except httpx.HTTPError:
        return 0
