"""`python -m bench`: the rounds, and what is written in the end."""

import random
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from bench import machine, pictures, report, stacks, workloads
from bench import results as of
from bench.calls import supported
from bench.measuring import Cold, LoadError, Meter, Sample
from bench.native import CompilerError
from bench.results import Results
from bench.stacks import Place, Stack, StackError
from bench.workloads import Workload

HERE = Path(__file__).parent.parent
COMMITTED = HERE / "docs" / "benchmarks"
ELSEWHERE = HERE / ".run" / "bench" / "report"
ROUNDS = 7

T = TypeVar("T")


@click.command()
@click.option("--workload", "names", multiple=True, help="Only this one; can be repeated.  [default: all]")
@click.option("--stack", "only", multiple=True, help="Only this one; can be repeated.  [default: all]")
@click.option("--rounds", type=click.IntRange(1), help=f"[default: {ROUNDS}]")
@click.option("--window", type=click.IntRange(100), help="Milliseconds of each measurement.  [default: the workload's]")
@click.option("--smoke", is_flag=True, help="A few workloads, once and shortly: to see that the benchmark works.")
@click.option(
    "--litellm", type=click.Path(exists=True, path_type=Path), help="LiteLLM's program: measure its proxy too."
)
@click.option("--output", type=click.Path(path_type=Path), help="Where the report goes.  [default: see below]")
@click.option("--seed", type=int, help="Of the random order.")
@click.option("--keep", is_flag=True, help="Keep the programs' logs.")
def main(
    names: tuple[str, ...],
    only: tuple[str, ...],
    rounds: int | None,
    window: int | None,
    smoke: bool,
    litellm: Path | None,
    output: Path | None,
    seed: int | None,
    keep: bool,
) -> None:
    """Measure, and write README.md, results.json and pictures.

    A run of everything goes to docs/benchmarks, any other to .run/bench/report.
    """
    chosen = _chosen(names, only, smoke, litellm)
    if window:
        chosen = tuple(replace(each, window=window) for each in chosen)
    whole = not (smoke or names or only or window) and (rounds or ROUNDS) >= ROUNDS
    run = Run(chosen, only, litellm, random.Random(seed))
    try:
        pictures.library()
        run.run(rounds or (1 if smoke else ROUNDS), keep)
        folder = output or (COMMITTED if whole else ELSEWHERE)
    except (CompilerError, pictures.DrawingError) as error:
        raise click.ClickException(str(error)) from error
    except (StackError, LoadError, OSError, KeyboardInterrupt) as error:
        click.echo(f"broken off: {str(error) or 'interrupted'}", err=True)
        folder = output or ELSEWHERE
    failed = write(run.results(), folder)
    click.echo(f"{folder / 'README.md'}: {failed} bad responses")
    if not run.finished or (smoke and failed):
        sys.exit(1)


def _chosen(names: tuple[str, ...], only: tuple[str, ...], smoke: bool, litellm: Path | None) -> tuple[Workload, ...]:
    """The workloads; raises `click.UsageError` for what there is not."""
    known = [of.BARE, of.FLOOR, *stacks.gateways(), of.LITELLM]
    if unknown := [name for name in only if name not in known]:
        raise click.UsageError(f"no stack {', '.join(unknown)}; there are {', '.join(known)}")
    if of.LITELLM in only and litellm is None:
        raise click.UsageError("--stack litellm needs --litellm, the path of its program: make bench-peers has one")
    if smoke and names:
        raise click.UsageError("--smoke has workloads of its own: leave --workload away")
    try:
        return workloads.smoke() if smoke else workloads.named(names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def write(results: Results, folder: Path) -> int:
    """Write the report, its pictures, and all samples; return the number of bad responses."""
    folder.mkdir(parents=True, exist_ok=True)
    of.write(results, folder / "results.json")
    drawn = pictures.draw(results, folder)
    (folder / "README.md").write_text(report.markdown(results, drawn))
    return sum(sample.failed for sample in results.samples) + sum(cold.failed for cold in results.cold)


class Run:
    """A run of the benchmark."""

    def __init__(self, chosen: tuple[Workload, ...], only: tuple[str, ...], litellm: Path | None, order: random.Random):
        self._workloads = chosen
        self._litellm = litellm
        self._only = only
        self._order = order
        self._samples: list[Sample] = []
        self._cold: list[Cold] = []
        self._about = machine.about(shlex.join(["python", "-m", "bench", *sys.argv[1:]]))
        self._rounds = 0
        self.finished = False

    def run(self, rounds: int, keep: bool) -> None:
        """Measure, and end everything; `keep` leaves the folder with the programs' logs."""
        folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/tmp"))  # sockets want short paths
        with ExitStack() as exits:
            if keep:
                click.echo(f"logs in {folder}")
            else:
                exits.callback(shutil.rmtree, folder, ignore_errors=True)
            place = Place(folder, exits)
            meter = Meter(folder, stacks.start_upstream(place).process.pid)
            for number in range(1, rounds + 1):
                click.echo(f"round {number} of {rounds}")
                self._cold_round(place, meter, number)
                self._round(place, meter, number)
                self._rounds = number
        self.finished = True

    def results(self) -> Results:
        """Of what was measured so far."""
        seen = {sample.stack for sample in self._samples}
        names = [name for name in (*of.ORDER, of.LITELLM) if name in seen]
        workloads_run = [workload.name for workload in self._workloads]
        about = self._about if self.finished else self._about | {"note": "this run was broken off"}
        return Results(about, self._rounds, names, workloads_run, self._samples, self._cold)

    def _wanted(self, name: str) -> bool:
        return not self._only or name in self._only

    def _start(self, place: Place) -> list[Stack]:
        made = [start(place) for name, start in (("bare", stacks.bare), ("floor", stacks.floor)) if self._wanted(name)]
        made += [stacks.gateway(place, name) for name in stacks.gateways() if self._wanted(name)]
        if self._litellm and self._wanted("litellm"):
            made.append(stacks.litellm(place, self._litellm))
        return made

    def _round(self, place: Place, meter: Meter, number: int) -> None:
        """Run every workload on every stack that serves it. Large bodies come last: they leave memory behind."""
        with ExitStack() as exits:
            running = self._start(place.within(exits))
            ordered = sorted(self._shuffled(self._workloads), key=lambda each: each.large)
            for workload in ordered:
                for stack in self._shuffled(running):
                    if supported(workload, stack.api):
                        sample = meter.measure(stack, workload, number)
                        self._samples.append(sample)
                        click.echo(_line(sample))

    def _cold_round(self, place: Place, meter: Meter, number: int) -> None:
        """Every gateway's start, with an Envoy of its own, and its first large body."""
        for name in self._shuffled(stacks.gateways()):
            if self._wanted(name):
                with ExitStack() as exits:
                    fresh = stacks.gateway(place.within(exits), name)
                    cold = meter.cold(fresh, number)
                    self._cold.append(cold)
                    click.echo(f"  {'fresh worker':12} {name:11} {cold.start_seconds:6.2f} s, {cold.rss:.0f} MB")

    def _shuffled(self, things: Iterable[T]) -> list[T]:
        ordered = list(things)
        self._order.shuffle(ordered)
        return ordered


def _line(sample: Sample) -> str:
    cost = sample.cpu()
    shown = f"{cost:10,.1f} µs" if cost is not None else "nothing done"
    marks = f"  ERRORS {sample.errors} {sample.complaint}" if sample.failed else ""
    return f"  {sample.workload:12} {sample.stack:11} {shown}{marks}"


if __name__ == "__main__":
    main(prog_name="python -m bench")
