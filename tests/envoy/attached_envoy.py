"""An operator who follows docs/attach.md, with an Envoy that runs already."""

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import yaml
from openai import OpenAI

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "attach.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(DOC)
FILES = ("filter", "route", "cluster", "reply", "metrics")
DEADLINE = 60.0


def block(language: str, beginning: str) -> str:
    """The one block of the document that begins so."""
    [code] = [code for each, code in BLOCKS if each == language and code.startswith(beginning)]
    return str(code)


class OperatorWithEnvoy:
    """A reader with an Envoy of their own, who follows the document, in a folder."""

    def __init__(self, site: Any, theirs: str, shop: int) -> None:
        self.site, self.folder = site, site.folder
        self.port, self.worker_port = site.port(), unused_port()
        self.bootstrap = theirs
        for number, mine in ((10000, self.port), (9901, 0), (10001, shop), (10002, 1)):
            self.bootstrap = self.bootstrap.replace(f"port_value: {number}", f"port_value: {mine}")
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "oai-extproc").symlink_to(Path(sys.prefix) / "bin" / "oai-extproc")
        (self.folder / "bin" / "envoy").symlink_to(site.envoy_binary)
        self.site.environment["PATH"] = f"{self.folder / 'bin'}:{self.site.environment['PATH']}"
        self.site.environment["OPENAI_API_KEY"] = site.tokens["ci"]

    def mine(self, code: str) -> str:
        """The document's code, with this reader's folders, ports and names."""
        for theirs, mine in {
            "/run/oai": str(self.folder),
            "/etc/oai": str(self.folder),
            "127.0.0.1:10000": f"127.0.0.1:{self.port}",
            "0.0.0.0:9000": f"127.0.0.1:{self.worker_port}",
            "worker.internal:9000": f"localhost:{self.worker_port}",
            "worker.internal": "localhost",
        }.items():
            code = code.replace(theirs, mine)
        return code

    def do(self, code: str) -> str:
        """Return what a shell prints for this code; it must not fail."""
        return self._run("sh", "-eu", "-c", self.mine(code))

    def python(self, code: str) -> str:
        return self._run(sys.executable, "-c", self.mine(code))

    def start(self, name: str, code: str) -> Any:
        """A command that goes on, as in another terminal."""
        return self.site.start(name, "sh", "-c", f"exec {self.mine(code)}")

    def paste(self, *forgotten: str) -> None:
        """Put the files into envoy.yaml, where the document has them, without those that are left out."""
        text = {name: (self.folder / f"{name}.yaml").read_text() for name in FILES}
        part: dict[str, Any] = {name: yaml.safe_load(each) for name, each in text.items()}
        part |= {name: [] for name in forgotten}
        bootstrap = yaml.safe_load(self.bootstrap)
        bootstrap["static_resources"]["clusters"] += part["cluster"]
        manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager.setdefault("local_reply_config", {}).setdefault("mappers", [])[:0] = part["reply"]
        manager.setdefault("access_log", []).extend(part["metrics"])
        manager["route_config"]["virtual_hosts"][0]["routes"][:0] = part["route"]
        [router] = [number for number, each in enumerate(manager["http_filters"]) if each["name"].endswith(".router")]
        manager["http_filters"][router:router] = part["filter"]
        (self.folder / "envoy.yaml").write_text(yaml.safe_dump(bootstrap))

    def start_envoy(self, code: str = "") -> Any:
        code = code or block("sh", "envoy -c")
        envoy = self.start("envoy", code.rstrip() + " --disable-hot-restart --concurrency 1")
        envoy.wait_for("starting workers")
        return envoy

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE, trust_env=False)

    @property
    def client(self) -> OpenAI:
        url, key = f"http://127.0.0.1:{self.port}/oai/v1", self.site.tokens["ci"]
        return OpenAI(base_url=url, api_key=key, max_retries=0, timeout=DEADLINE)

    def calls(self) -> list[dict[str, Any]]:
        """The model calls that Bedrock has seen."""
        with urllib.request.urlopen(f"{self.site.bedrock_url}/_local/calls", timeout=DEADLINE) as response:
            calls: list[dict[str, Any]] = json.load(response)
        return [call for call in calls if call["operation"].startswith(("Converse", "Invoke"))]

    def release(self) -> None:
        url = f"{self.site.bedrock_url}/_local/release"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=DEADLINE).close()

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.site.environment, capture_output=True, text=True, timeout=DEADLINE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
