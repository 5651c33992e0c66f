"""A real Prometheus: Debian's, which `make` unpacks."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.gateway.proxies import free_port

_UNPACKED = Path(tempfile.gettempdir()) / "engine" / "prometheus" / "usr" / "bin"
_DEADLINE = 60.0

_CONFIGURATION = """\
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: oai
  static_configs: [{{targets: ['{target}']}}]
"""

Sample = tuple[dict[str, str], float]
"""Labels and a value."""


def program(name: str) -> str:
    """Return the path of one of Prometheus' programs."""
    found = shutil.which(name) or shutil.which(name, path=str(_UNPACKED))
    if found is None:
        pytest.skip("there is no Prometheus, which `make test-programs` unpacks on Debian")
    return found


class Prometheus:
    """A Prometheus that scrapes `target`, HOST:PORT, once a second."""

    def __init__(self, folder: Path, target: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port, self._log = free_port(), folder / "prometheus.log"
        self._url = f"http://127.0.0.1:{port}/api/v1/query"
        (folder / "prometheus.yml").write_text(_CONFIGURATION.format(target=target))
        command = [
            program("prometheus"),
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
        ]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        with self._log.open("wb") as log:
            environment = {"PATH": os.environ["PATH"], "GOMAXPROCS": "1"}
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def query(self, query: str) -> list[Sample]:
        """Return the result of an instant query, sorted by labels; labels without the metric's name."""
        url = f"{self._url}?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=_DEADLINE) as response:
            result: list[Any] = json.load(response)["data"]["result"]
        samples = [({k: v for k, v in each["metric"].items() if k != "__name__"}, each["value"][1]) for each in result]
        return sorted(((labels, float(value)) for labels, value in samples), key=lambda each: sorted(each[0].items()))

    def wait_for(self, query: str, condition: Callable[[list[Sample]], bool]) -> list[Sample]:
        """Return the result of a query, once it is as it should be."""
        end = time.monotonic() + _DEADLINE
        while True:
            assert self._process.poll() is None, self._log.read_text()
            result = self.query(query) if self._answers() else []
            if condition(result):
                return result
            assert time.monotonic() < end, f"{query}: {result}"
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError):  # it starts
            self.query("vector(1)")
            return True
        return False

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
