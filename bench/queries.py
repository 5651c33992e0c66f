"""Draw what Prometheus answers to the queries of docs/operations.md, while three organisations call a gateway.

Run it as `make bench-queries`: a gateway with limits and a budget, a real Prometheus, and `MINUTES` of calls by three
organisations whose rates differ. The pictures go to docs/limits, one for each query of `PICTURES`; they show what the
queries look like, and measure nothing.
"""

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from openai import APIStatusError, OpenAI

from bench.pictures import STYLE, library
from extproc.tenancy.api_keys import digest, new_token

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
FOLDER = ROOT / "docs" / "limits"

MINUTES = 6
STEP = 5
"""Seconds between two points of a line."""

PORT = 19309
"""Of Prometheus."""

NOVA, LITE = "amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0"
PRICES = {NOVA: {"input": 100, "output": 400}, LITE: {"input": 200, "output": 800}}
"""Dollars a million tokens, far above AWS's own: so that minutes of calls show."""

CALLERS = {"acme": (0.5, NOVA), "research": (0.7, LITE), "umbrella": (1.1, NOVA)}
"""Organisation -> the seconds between its calls, on average, and its model."""

LIMITED = {"limits": {"requests_per_minute": 30}}
"""Of `umbrella`, which calls more often than that at times."""

PICTURES = {
    "spending.svg": ("What organisations spent in the last 24 hours", "US dollars, by organisation"),
    "tokens.svg": ("Tokens a minute by model", "tokens a minute, by model"),
    "rejected.svg": ("The share of calls in the last hour that were a 429", "share of 429s"),
    "first-token.svg": ("In what time 95 % of the streams", "seconds to the first token of 95 %, by model"),
    "left.svg": ("Calls whose client left", "calls that their clients left, by organisation"),
}
"""File -> how the sentence above its query begins, and the picture's title."""


def main() -> None:
    """Draw the pictures."""
    pyplot = library()
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        sys.exit("bench: there is no Prometheus; run this as `make bench-queries`, on Debian")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as exits:
        url, metrics, tokens = exits.enter_context(gateway(Path(folder)))
        exits.enter_context(scraping(Path(folder), prometheus, metrics))
        began = time.time()
        call(url, tokens, began + MINUTES * 60)
        FOLDER.mkdir(exist_ok=True)
        with pyplot.rc_context(STYLE):
            for name, (beginning, title) in PICTURES.items():
                draw(pyplot, series(query(beginning), began, time.time()), title, FOLDER / name)


def query(beginning: str) -> str:
    """Return the query of the page under the sentence that begins so."""
    found = re.findall(r"^(\S[^\n]*):\n\n```promql\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    [code] = [code for sentence, code in found if sentence.startswith(beginning)]
    return str(code)


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Run a gateway; yields its base URL, HOST:PORT of its metrics, and each organisation's token."""
    tokens = {name: new_token() for name in CALLERS}
    settings = {
        "region": "us-east-1",
        "prices": PRICES,
        "organisations": {name: LIMITED if name == "umbrella" else {} for name in CALLERS},
        "tokens": [{"name": name, "sha256": digest(token), "organisations": [name]} for name, token in tokens.items()],
    }
    path, log = folder / "gateway.yaml", folder / "up.log"
    path.write_text(yaml.safe_dump(settings))
    command = [str(Path(sys.executable).with_name("oai-extproc")), "up", "--config", str(path), "--upstream", "local"]
    command += ["--listen", "127.0.0.1:0", "--health", "127.0.0.1:0"]
    with running(command, log):
        url = wait_for(log, r"(http://127\.0\.0\.1:\d+/oai/v1)")
        yield url, wait_for(log, r"health +http://(\S+)/healthz"), tokens


@contextlib.contextmanager
def scraping(folder: Path, program: str, target: str) -> Iterator[None]:
    """Run a Prometheus that scrapes `target` each second."""
    settings = folder / "prometheus.yml"
    jobs = [{"job_name": "oai", "static_configs": [{"targets": [target]}]}]
    settings.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    log = folder / "prometheus.log"
    command = [program, f"--config.file={settings}", f"--storage.tsdb.path={folder}/data"]
    with running([*command, f"--web.listen-address=127.0.0.1:{PORT}"], log):
        wait_for(log, r"(Server is ready)")
        yield


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Run a program whose output goes to `log`, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "GOMAXPROCS": "1"})
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(log: Path, pattern: str) -> str:
    """Return the group of a pattern, once the log has it."""
    end = time.monotonic() + 60
    while (found := re.search(pattern, log.read_text())) is None:
        if time.monotonic() > end:
            sys.exit(f"bench: {pattern} did not come:\n{log.read_text()}")
        time.sleep(0.1)
    return str(found[1])


def call(url: str, tokens: dict[str, str], end: float) -> None:
    """Have every organisation call until `end`, each in a thread of its own."""
    threads = []
    for number, (name, (pause, model)) in enumerate(CALLERS.items()):
        client = OpenAI(base_url=url, api_key=tokens[name], max_retries=0)
        threads.append(threading.Thread(target=calls, args=(client, model, pause, number, end)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def calls(client: OpenAI, model: str, pause: float, phase: int, end: float) -> None:
    """Call a model, more often and less often by turns; leave each ninth stream."""
    number = 0
    while (now := time.time()) < end:
        number += 1
        words: Any = [{"role": "user", "content": "Count to twenty. " * (1 + number % 7)}]
        with contextlib.suppress(APIStatusError):
            stream = client.chat.completions.create(model=model, messages=words, stream=True, max_tokens=200)
            if number % 9:
                list(stream)
            else:
                next(iter(stream))
                stream.close()
        time.sleep(pause * (1 + 0.7 * math.sin(now / 30 + 2 * phase)))


def series(query: str, begin: float, end: float) -> dict[str, list[tuple[float, float]]]:
    """Return what a query gives over the time: the points (minutes, value) by the value of its label."""
    options = urllib.parse.urlencode({"query": query, "start": begin, "end": end, "step": STEP})
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/query_range?{options}", timeout=60) as response:
        result: list[Any] = json.load(response)["data"]["result"]
    return {
        ", ".join(each["metric"].values()): [((at - begin) / 60, float(value)) for at, value in each["values"]]
        for each in result
    }


def draw(pyplot: Any, lines: dict[str, list[tuple[float, float]]], title: str, path: Path) -> None:
    """Write the picture of some lines. Exits if there are none: then the query gave nothing."""
    if not lines:
        sys.exit(f"bench: no data for {path.name}")
    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*points, strict=True), label=name or None)
    axes.set_title(title, loc="left")
    axes.set_xlabel("minutes")
    axes.set_xlim(0, MINUTES)
    axes.set_ylim(bottom=0)
    if any(lines):
        axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
