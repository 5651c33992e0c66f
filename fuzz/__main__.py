"""`python -m fuzz`: run the targets, two at a time, and write what they came to.

A finding is kept in .run/fuzz/TARGET/crash-…; `python -m fuzz.child TARGET FILE` runs it again.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from fuzz.targets import NAMES, load

FOLDER = Path(".run/fuzz")
START = 120.0
"""Seconds that a target may take beyond its own, to import under instrumentation and to write its corpus."""
SLOWEST = 60
"""Seconds for one input, after which it is a finding. Inputs are small: what is slow takes hours, not seconds."""
LARGEST = 4096
"""Bytes of the longest input."""
MEMORY = 2048
"""Megabytes that a target may take."""


@dataclass(frozen=True)
class Outcome:
    """The result of one target."""

    target: str
    seconds: int
    executions: int
    edges: int
    """Edges of the gateway's bytecode that were reached."""
    corpus: int
    """Inputs that each reach something more."""
    findings: int


@click.command()
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="For each target.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Targets at a time.")
@click.option("--output", type=click.Path(path_type=Path), default=Path(".run/fuzz.json"), show_default=True)
@click.argument("names", metavar="[TARGET]...", nargs=-1, type=click.Choice(NAMES))
def main(seconds: int, jobs: int, output: Path, names: Sequence[str]) -> None:
    """Fuzz the targets, all of them by default, and exit with 1 if there is a finding."""
    waiting, running, outcomes = list(names or NAMES), list[Run](), list[Outcome]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Run(waiting.pop(0), seconds))
            time.sleep(0.2)
            for run in [one for one in running if one.over]:
                running.remove(run)
                outcomes.append(run.outcome())
    finally:
        for run in running:
            run.kill()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"about": "", "targets": [asdict(one) for one in outcomes]}, indent=1) + "\n")
    if any(one.findings for one in outcomes):
        sys.exit("fuzz: a target broke its invariant; the inputs are in .run/fuzz")


class Run:
    """A target in a process of its own."""

    def __init__(self, name: str, seconds: int) -> None:
        self._name, self._seconds = name, seconds
        self._folder = FOLDER / name
        shutil.rmtree(self._folder / "found", ignore_errors=True)
        (self._folder / "found").mkdir(parents=True)
        self._corpus = _write_corpus(self._folder / "corpus", name)
        command = [sys.executable, "-m", "fuzz.child", name, str(self._corpus), *self._options()]
        self._log = self._folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._end = time.monotonic() + seconds + START

    @property
    def over(self) -> bool:
        """Return whether it has ended; end it if it is far over its time."""
        if self._process.poll() is None and time.monotonic() > self._end:
            self.kill()
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def outcome(self) -> Outcome:
        """Read its figures; an end in error without an input that led to it is a finding too."""
        log = self._log.read_text(errors="replace")
        findings = list((self._folder / "found").iterdir())
        for one in findings:
            one.replace(self._folder / one.name)
        failed = self._process.returncode != 0
        outcome = Outcome(
            self._name,
            self._seconds,
            _last(r"stat::number_of_executed_units: (\d+)", log),
            _last(r"cov: (\d+)", log),
            _last(r"corp: (\d+)/", log),
            max(len(findings), int(failed)),
        )
        click.echo(
            f"{outcome.target:12} {outcome.executions:>10,} runs  {outcome.edges:>6,} edges  "
            f"{outcome.corpus:>5,} inputs  {outcome.findings} findings"
        )
        if failed:
            click.echo("\n".join(log.splitlines()[-40:]), err=True)
        return outcome

    def _options(self) -> list[str]:
        findings = f"{self._folder / 'found'}/"
        words = self._folder / "words"
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in load(self._name).WORDS))
        limits = {"max_total_time": self._seconds, "max_len": LARGEST, "timeout": SLOWEST, "rss_limit_mb": MEMORY}
        more = {"artifact_prefix": findings, "dict": words, "print_final_stats": 1, "verbosity": 1}
        return [f"-{name}={value}" for name, value in {**limits, **more}.items()]


def _write_corpus(folder: Path, name: str) -> Path:
    """Write the seeds beside the corpus of earlier runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(load(name).seeds()):
        (folder / f"seed-{number:03}").write_bytes(seed)
    return folder


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def _last(pattern: str, log: str) -> int:
    figures = re.findall(pattern, log)
    return int(figures[-1]) if figures else 0


if __name__ == "__main__":
    main()
