"""The limit of open files, of this process and of those that it starts; each connection is one.

Decision: docs/decisions.md, D91.
"""

import resource

from extproc.config import capacity

ENOUGH = 4096
"""Limit of open files below which the operator is warned: Envoy then takes fewer than 1,920 connections of callers."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as it goes; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, min(hard, 10_240) if hard > 0 else 10_240):  # macOS rejects its own infinity
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        break
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def too_few(files: int) -> str | None:
    """Return a line for the operator where the limit is low."""
    if files >= ENOUGH:
        return None
    return (
        f"at most {files} files may be open (ulimit -n), so Envoy takes {capacity.connections(files)} callers' "
        f"connections and closes more at once: raise the hard limit, to {capacity.most_files()} for all"
    )
