"""Envoy's configuration for `up`, rendered by a process of its own, which starts before anything else does.

Envoy's messages take a third of a second of a processor to import. A thread would share its lock with the rest of the
start; a process has the machine's second processor. It ends when it has rendered, or when we are gone.

Decision: docs/decisions.md, D230.
"""

import asyncio
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from extproc import envoy_config


class RenderError(Exception):
    """The process that renders has failed; what it printed has the reason."""


class Renderer:
    """A process that imports Envoy's messages, and waits for a plan."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    async def render(self, plan: envoy_config.EnvoyPlan) -> str:
        """Return the bootstrap for a plan, as YAML; once. Raises `RenderError`."""
        rendered, _ = await asyncio.to_thread(self._process.communicate, pickle.dumps(plan))
        if self._process.returncode:
            raise RenderError("Envoy's configuration could not be rendered; the lines above have the reason")
        return rendered.decode()


@contextmanager
def started() -> Iterator[Renderer]:
    """Start the process; it does not outlive the block. Ctrl-C in a terminal is for us, not for it."""
    command = [sys.executable, "-P", "-m", "extproc.stack.renderer"]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, process_group=0)  # noqa: S603 - ours
    except OSError as error:
        raise RenderError(f"Envoy's configuration cannot be rendered: no process could be started ({error})") from error
    with process:
        try:
            yield Renderer(process)
        finally:
            process.kill()


def main() -> None:
    """Read a plan from standard input, write its rendering to standard output, and end this process."""
    gc.disable()  # the process is short-lived
    envoy_config.load()
    if plan := sys.stdin.buffer.read():
        sys.stdout.write(envoy_config.render(pickle.loads(plan)))  # noqa: S301 - it is our parent's
        sys.stdout.flush()
    os._exit(0)  # an orderly shutdown would be a fifth of the time


if __name__ == "__main__":
    main()
