"""Profile a worker under a workload: py-spy samples its stack some hundred times a second, from outside.

    python -m bench.profiling --workload chat-32 --transport http2

Shares are of the samples in which the event loop was not idle. `own` is the function itself, `with callees` everything
below it too. The raw stacks (for flame graphs: speedscope.app, inferno) go to --output.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from bench import stacks, workloads
from bench.measuring import LoadError, Meter, Sample
from bench.native import BUILD, CompilerError
from bench.stacks import SERVICE, Place, StackError
from bench.workloads import Workload

RATE = 400
"""Samples per second."""

SHOWN = 25

LOOP = "Runner.run (asyncio/runners.py)"
"""The outermost frame; its own share is uvloop's and the kernel's."""


@click.command()
@click.option(
    "--workload",
    "name",
    type=click.Choice([workload.name for workload in workloads.WORKLOADS]),
    default="chat-32",
    show_default=True,
)
@click.option("--transport", type=click.Choice(stacks.transports()), default=stacks.transports()[0], show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=BUILD.parent / "profile.txt", show_default=True)
def main(name: str, transport: str, seconds: int, output: Path) -> None:
    """Profile one transport under one workload: interpreted, so that every function has a name."""
    [workload] = workloads.named((name,))
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        sample = _watched(replace(workload, window=1000 * (seconds + 1)), transport, seconds, output)
    except (CompilerError, StackError, LoadError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name} on {transport}: {sample.cpu(SERVICE):.0f} µs a unit while watched, errors {sample.failed}")
    click.echo(summary(output.read_text().splitlines()))


def _watched(workload: Workload, transport: str, seconds: int, output: Path) -> Sample:
    """Run the workload while py-spy writes its samples to `output`."""
    spy_program = Path(sys.executable).with_name("py-spy")
    if not spy_program.exists():
        raise click.ClickException("py-spy is not installed: `make bench-profile` installs it")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))
    with ExitStack() as exits:
        exits.callback(shutil.rmtree, folder, ignore_errors=True)
        place = Place(folder, exits)
        meter = Meter(folder, stacks.start_upstream(place).process.pid)
        stack = stacks.gateway(place, transport)
        command = [str(spy_program), "record", "--format", "raw", "--output", str(output)]
        command += ["--rate", str(RATE), "--duration", str(seconds), "--pid", str(stack.processes[SERVICE])]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as spy:
            sample = meter.measure(stack, workload, 1)
        if spy.returncode != 0:
            raise click.ClickException(
                "py-spy saw nothing: it needs the right to trace processes (root, or SYS_PTRACE)"
            )
    return sample


def summary(lines: Iterable[str]) -> str:
    """Return the functions with the largest shares, of lines `outer:1;inner:2;innermost:3 12`."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, count in filter(None, map(_in_the_loop, lines)):
        own[frames[-1]] += count
        for frame in set(frames):
            below[frame] += count
    total = own.total() or 1
    shown = []
    for title, counter in (("own", own), ("with callees", below)):
        shown += ["", title, *(f"{100 * n / total:6.1f} %  {frame}" for frame, n in counter.most_common(SHOWN))]
    return "\n".join(shown)


def _in_the_loop(line: str) -> tuple[list[str], int] | None:
    """Return the frames from the event loop inwards, without line numbers; None for other threads, which only wait."""
    stack, _, count = line.rpartition(" ")
    frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
    return (frames[frames.index(LOOP) :], int(count)) if LOOP in frames else None


if __name__ == "__main__":
    main(prog_name="python -m bench.profiling")
