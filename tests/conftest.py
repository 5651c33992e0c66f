"""Other people's code as oracles, the gateway as a process, and the small tools that tests of several packages share.

Fixtures, because with `--import-mode=importlib` tests cannot import each other; each gives a function or a constant.
"""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any
from zlib import crc32

import botocore.session
import pytest
import yaml
from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator

from extproc.build import compiled
from tests import limits, prompts
from tests.inherited import default_signals
from tests.logs import WATCH

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
"""Tests that serve gRPC start programs, too: while its threads are busy, its handlers of forks abort the child."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The tests of tests/clients also test a gateway that something else runs, in containers for one."""
    parser.addoption("--gateway", metavar="URL", help="a running gateway's …/oai/v1, with the tokens of CONFIG")
    parser.addoption("--local-bedrock", metavar="URL", help="the local Bedrock behind --gateway")
    parser.addoption(
        "--transport", choices=("auto", "http2", "grpcio"), default="auto", help="of every gateway that tests start"
    )
    parser.addoption("--compiled", action="store_true", help="make sure that what is tested is compiled")


def pytest_configure(config: pytest.Config) -> None:
    """Silence Envoy's typed messages, generated for an older pydantic, which warns about it a hundred times."""
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:envoy_data_plane.*")
    config.pluginmanager.register(limits, "limits")
    CONFIG["transport"] = config.getoption("--transport")
    if config.getoption("--compiled") and not compiled():
        raise pytest.UsageError("this is not the compiled gateway: say `make test-compiled`")


@pytest.fixture(scope="session")
def read_converse() -> Callable[[bytes], dict[str, Any]]:
    """A Converse body as a dict, blobs as bytes, once botocore's service model has nothing against it."""
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("Converse").input_shape
    assert shape is not None

    def read(body: bytes) -> dict[str, Any]:
        request = _blobs(json.loads(body), shape)
        report = ParamValidator().validate({"modelId": "m", **request}, shape)
        assert not report.has_errors(), report.generate_report()
        assert list(_violations(request, shape, "")) == []
        return request

    return read


@pytest.fixture(scope="session")
def event() -> Callable[..., bytes]:
    """Encodes one message of an event stream: `event("metadata", {"usage": …})`."""

    def encode(kind: str, payload: object, *, message: str = "event", headers: dict[str, str] | None = None) -> bytes:
        names = {":message-type": message, f":{message}-type": kind, ":content-type": "application/json"}
        block = b"".join(_header(name, value) for name, value in (headers or names).items())
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        prelude = pack(">II", len(block) + len(content) + 16, len(block))
        checked = prelude + pack(">I", crc32(prelude)) + block + content
        return checked + pack(">I", crc32(checked))

    return encode


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + pack(">H", len(value.encode())) + value.encode()


def _blobs(value: Any, shape: Shape) -> Any:
    """`value` with base64 decoded where the service model has bytes."""
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if isinstance(shape, StructureShape) and isinstance(value, dict) and not shape.is_document_type:
        members = shape.members
        return {key: _blobs(item, members[key]) if key in members else item for key, item in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_blobs(item, shape.member) for item in value]
    return value


def _violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """List what the service model forbids and ParamValidator does not check: patterns, enums, upper limits."""
    limits = shape.metadata
    if isinstance(shape, StructureShape) and isinstance(value, dict) and not shape.is_document_type:
        for key, item in value.items():
            yield from _violations(item, shape.members[key], f"{path}.{key}")
    elif isinstance(shape, ListShape):
        for index, item in enumerate(value):
            yield from _violations(item, shape.member, f"{path}[{index}]")
    elif isinstance(value, str):
        pattern = limits.get("pattern")
        if (pattern and not re.fullmatch(pattern, value)) or value not in limits.get("enum", [value]):
            yield f"{path}: {value!r}"
    if isinstance(value, str | list) and len(value) > limits.get("max", len(value)):
        yield f"{path} is too long"
    if isinstance(value, float | int) and value > limits.get("max", 2**31 - 1):
        yield f"{path}: {value} is too large"


# The gateway, as a process

DEADLINE = 90.0
"""Seconds after which a gateway is not going to be ready, or to end."""

TOKENS = {name: f"qc_{name:_<43}" for name in ("ci", "both", "nobody", "expired", "limited", "closed")}

CONFIG: dict[str, Any] = {
    "region": "us-east-1",
    "aws": {"request_metadata": []},
    "organisations": {
        "acme": {},
        "umbrella": {},
        "limited": {"models": {"allow": ["amazon.*"], "deny": ["*-canvas-*"]}},
        "closed": {"enabled": False},
    },
    "tokens": [
        {"name": name, "sha256": hashlib.sha256(TOKENS[name].encode()).hexdigest(), **rest}
        for name, rest in {
            "ci": {"organisations": ["acme"]},
            "both": {"organisations": ["acme", "umbrella"]},
            "nobody": {},
            "expired": {"organisations": ["acme"], "expires": "2020-01-01T00:00:00Z"},
            "limited": {"organisations": ["limited"]},
            "closed": {"organisations": ["closed"]},
        }.items()
    ],
}
"""Organisations and tokens for every case; a test's own top-level keys take the place of these."""


SECRETS = (*TOKENS.values(), "AWS4-HMAC-SHA256", "x-amz-security-token", "Hello!", "Count to 5", "You said")
"""Tokens, signatures, prompts and responses of all tests (the local Bedrock repeats each prompt): no log has them."""


@dataclass(frozen=True, eq=False)
class Gateway:
    """A running `oai-extproc up`. `url` is the API's, `local_url` the local Bedrock's, if there is one."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    url: str
    local_url: str | None
    tokens: Mapping[str, str]

    @property
    def origin(self) -> str:
        """Scheme, host and port, for what is not under /oai/v1."""
        return self.url.removesuffix("/oai/v1")

    @property
    def config_path(self) -> Path:
        return self.folder / "gateway.yaml"

    def expect_restarts(self) -> None:
        """Declare that the test ends programs of this gateway, which are started again."""
        WATCH.logs[self.folder / "log"].restarts = True

    def log(self) -> str:
        """Return all of its output so far, of both of its streams."""
        return _output(self.folder)

    @property
    def prompts(self) -> Path:
        """Return the file of the calls' bodies that the local Bedrock has forgotten (tests/prompts.py)."""
        return self.folder / "prompts"

    def pids(self, program: str) -> list[int]:
        """The processes of its own whose command line has this in it: `extproc.worker.command`, `bedrock_local`…"""
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = (line.split(None, 2) for line in listed.stdout.splitlines())
        mine = str(self.process.pid)
        return [int(pid) for pid, parent, *args in rows if parent == mine and program in " ".join(args)]

    @property
    def run_directory(self) -> Path:
        """Return the folder of its sockets."""
        return Path(self.wait_for(r"serving on unix:(\S+)/worker-\d+\.sock")[1])

    def wait_for(self, pattern: str, since: int = 0) -> "re.Match[str]":
        """Wait until its output matches; only what comes after the first `since` characters counts."""
        return _wait_for(self.process, self.folder, pattern, since)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Terminate it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@dataclass(frozen=True, eq=False)
class Starter:
    """Starts gateways, each in a folder of its own below `folder`, and ends them all."""

    folder: Path
    gateways: list[Gateway] = field(default_factory=list)

    def __call__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        files: int = 0,
    ) -> Gateway:
        """A gateway that is ready. `config` replaces top-level keys of `CONFIG`, `args` come after the usual ones.

        `files` is the most that it may have open, where that is not what we may.
        """
        folder = self.folder / f"gateway-{len(self.gateways)}"
        folder.mkdir(parents=True)
        (folder / "gateway.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}))
        command = [sys.executable, "-m", "extproc", "up", "--config", "gateway.yaml"]
        command += ["--listen", "127.0.0.1:0", "--upstream", "local", *args]
        if files:
            command = ["bash", "-c", f'ulimit -n {files} && exec "$0" "$@"', *command]
        WATCH.add(folder / "log")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment(env or {}), stdout=log, stderr=log, preexec_fn=default_signals
            )
        try:
            ready = _wait_for(process, folder, r"listens on +(\S+)\n +upstream +(.*)\n(?s:.*)Try it:")
        except BaseException:
            process.kill()
            process.wait()
            raise
        local = re.search(r"http://\S+$", ready[2]) if ready[2].startswith("local Bedrock") else None
        gateway = Gateway(process, folder, ready[1], local[0] if local else None, TOKENS)
        self.gateways.append(gateway)
        return gateway

    def end(self) -> None:
        """End all that still run. One that does not end by itself, and well, is a failure."""
        codes = [gateway.stop() if gateway.process.poll() is None else 0 for gateway in self.gateways]
        assert not any(codes), codes
        WATCH.check()


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """A gateway that something else runs; what is called the same is the same as a `Gateway`'s."""

    url: str
    local_url: str
    tokens: Mapping[str, str]
    prompts: None = None


@pytest.fixture(autouse=True)
def no_crash() -> Iterator[None]:
    """No program that a test starts crashes, or has to be started again."""
    yield
    WATCH.check()


@pytest.fixture(scope="session")
def gateway_config() -> dict[str, Any]:
    """Return the configuration that a gateway needs for `--gateway`."""
    return CONFIG


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Gateway | Elsewhere]:
    """A gateway for all tests that change nothing about it."""
    if url := pytestconfig.getoption("--gateway"):
        yield Elsewhere(url, pytestconfig.getoption("--local-bedrock"), TOKENS)
        return
    starter = Starter(tmp_path_factory.mktemp("gateway"))
    gateway = starter(args=["--log-level", "debug", "--access-log"])
    yield gateway
    with urllib.request.urlopen(f"{gateway.local_url}/_local/calls", timeout=DEADLINE) as response:
        prompts.keep(gateway.prompts, json.load(response))
    starter.end()
    log = gateway.log()
    assert not [text for text in (*SECRETS, *prompts.kept(gateway.prompts)) if text in log], "content is in a log"


@pytest.fixture
def start_gateway(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Starter]:
    """Starts gateways for one test."""
    if pytestconfig.getoption("--gateway"):
        pytest.skip("it needs a gateway that is configured for it, and --gateway names one that is as it is")
    starter = Starter(tmp_path)
    yield starter
    starter.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the logs of the gateways of a failed test."""
    report: Any = yield
    if report.failed:
        used = getattr(item, "funcargs", {}).values()
        gateways = [each for each in used if isinstance(each, Gateway)]
        gateways += [each for starter in used if isinstance(starter, Starter) for each in starter.gateways]
        for gateway in gateways:
            report.sections.append(("the gateway's last lines", "\n".join(gateway.log().splitlines()[-100:])))
    return report


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without what would lead to somebody's AWS account, and with the test's additions."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENAI_"))}
    return {**ours, "AWS_EC2_METADATA_DISABLED": "true", **more}


def _output(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")


def _wait_for(process: "subprocess.Popen[bytes]", folder: Path, pattern: str, since: int = 0) -> "re.Match[str]":
    end = time.monotonic() + DEADLINE
    while (match := re.search(pattern, _output(folder)[since:])) is None:
        assert process.poll() is None, f"it ended with exit code {process.returncode}:\n{_output(folder)}"
        assert time.monotonic() < end, f"it does not say {pattern!r}:\n{_output(folder)}"
        time.sleep(0.02)
    return match
