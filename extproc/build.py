"""The build of this copy: as Python, or with its hot packages compiled (setup.py)."""

import importlib.util


def compiled() -> bool:
    """Return whether requests are translated by machine code. Both kinds do the same."""
    spec = importlib.util.find_spec("extproc.exchange.exchange")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
