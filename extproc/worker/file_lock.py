"""A lock between the workers of one machine, by a file that stays empty (flock)."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, mode: int, tries: int, pause: float) -> Iterator[None]:
    """Hold the lock at `path`, which is made with `mode` if it is not there.

    Tries `tries` times, `pause` seconds apart. Raises `OSError` where another process holds it for longer.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        for attempt in range(tries):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == tries - 1:
                    raise
                time.sleep(pause)
        yield
    finally:
        os.close(handle)
