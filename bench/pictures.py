"""The results as pictures (SVG, by matplotlib), the same bytes for the same results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import results as of
from bench.report import STACKS
from bench.results import LITELLM, Results
from bench.spread import spread

COLOURS = {
    "bare": "#8a9a5b",
    "floor": "#b8b8b8",
    "http2": "#2f6f9f",
    "grpcio": "#d98c3f",
    "interpreted": "#7ea8c9",
    "litellm": "#a34a4a",
}
_SIZES = {"body-1KB": 1e3, "body-10KB": 1e4, "body-100KB": 1e5, "body-1MB": 1e6, "body-10MB": 1e7}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class DrawingError(Exception):
    """The pictures cannot be drawn here; the message has the remedy."""


def library() -> Any:
    """matplotlib's pyplot, set to write files. Raises `DrawingError`: ask before measuring for half an hour."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise DrawingError(f"{error.name} is not installed: `make bench` installs it") from error
    mpl.use("svg")
    from matplotlib import pyplot

    return pyplot


def draw(results: Results, folder: Path) -> list[str]:
    """Write the pictures that there are figures for; gives their names. Raises `DrawingError`."""
    pyplot = library()
    drawn = []
    with pyplot.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
            if picture(results, axes):
                figure.savefig(folder / name, metadata={"Date": None, "Creator": None})
                drawn.append(name)
            pyplot.close(figure)
    return drawn


def _median(results: Results, stack: str, workload: str, figure: of.Figure) -> float | None:
    measured = spread(results.by_round(stack, workload, figure).values())
    return measured.median if measured else None


def _requests(results: Results, axes: Any) -> bool:
    """Draw a bar for each stack but LiteLLM's, which would dwarf the others."""
    return _bars(results, axes, "chat-32", "µs of CPU per buffered request, 32 connections")


def _frames(results: Results, axes: Any) -> bool:
    return _bars(results, axes, "paced-200", "µs of CPU per frame, 200 streams of 50 frames a second")


def _bars(results: Results, axes: Any, workload: str, title: str) -> bool:
    stacks = [each for each in reversed(results.stacks) if results.of(each, workload) and each != LITELLM]
    names = [STACKS[each] for each in stacks]
    envoy = [_median(results, each, workload, of.envoy) or 0 for each in stacks]
    service = [_median(results, each, workload, of.service) or 0 for each in stacks]
    axes.barh(names, envoy, color="#c9c9c9", label="Envoy")
    axes.barh(names, service, left=envoy, color=COLOURS["http2"], label="service")
    for row, (left, right) in enumerate(zip(envoy, service, strict=True)):
        axes.text(left + right, row, f" {left + right:,.0f}", va="center")
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)
    return bool(stacks)


def _peers(results: Results, axes: Any) -> bool:
    """Everything, on a logarithmic scale; only with a peer."""
    if not results.of(LITELLM, "chat-32"):
        return False
    stacks = [each for each in reversed(results.stacks) if results.of(each, "chat-32")]
    costs = [_median(results, each, "chat-32", of.whole) or 0 for each in stacks]
    axes.barh([STACKS[each] for each in stacks], costs, color=[COLOURS[each] for each in stacks])
    for row, cost in enumerate(costs):
        axes.text(cost, row, f" {cost:,.0f}", va="center")
    axes.set_xscale("log")
    axes.set_title("µs of CPU per buffered request, all processes, 32 connections (logarithmic)", loc="left")
    return True


def _latency(results: Results, axes: Any) -> bool:
    at = {f"chat-{connections}": float(connections) for connections in (1, 4, 32, 256)}
    axes.set_title("median latency (ms) by connections", loc="left")
    return _lines(results, axes, at, of.p50)


def _bodies(results: Results, axes: Any) -> bool:
    axes.set_title("µs of CPU per request by bytes of its body", loc="left")
    return _lines(results, axes, _SIZES, of.whole)


def _lines(results: Results, axes: Any, at: dict[str, float], figure: of.Figure) -> bool:
    for stack in results.stacks:
        points = [(place, _median(results, stack, name, figure)) for name, place in at.items()]
        known = [(place, value) for place, value in points if value]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", color=COLOURS[stack], label=STACKS[stack])
    axes.set_xscale("log")
    axes.set_yscale("log")
    if axes.lines:
        axes.legend(frameon=False)
    return bool(axes.lines)


PICTURES: dict[str, Callable[[Results, Any], bool]] = {
    "requests.svg": _requests,
    "frames.svg": _frames,
    "latency.svg": _latency,
    "body-size.svg": _bodies,
    "peers.svg": _peers,
}
