"""The two C programs: compiled with `cc` when they are first used, and again when their source has changed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent / ".run" / "bench" / "bin"

FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


class CompilerError(Exception):
    """The C programs cannot be made here; the message has the remedy."""


def program(name: str) -> Path:
    """The executable made of `bench/<name>.c`; raises `CompilerError`."""
    sources = sorted([HERE / f"{name}.c", *HERE.glob("*.h")])
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    made = BUILD / f"{name}-{version}"
    if not made.exists():
        _compile(HERE / f"{name}.c", made)
    return made


def _compile(source: Path, made: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise CompilerError(
            "no C compiler: the benchmark's upstream and load generator are C programs; install one "
            "(on Debian and Ubuntu: apt install gcc libc6-dev)"
        )
    made.parent.mkdir(parents=True, exist_ok=True)
    unfinished = made.with_suffix(".new")
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(unfinished), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CompilerError(f"{source.name} does not compile here (Linux is needed):\n{done.stderr}")
    unfinished.rename(made)
