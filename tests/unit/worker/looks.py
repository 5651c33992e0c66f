"""Looks at a gateway.yaml, as a worker takes them."""

from extproc.config import Settings
from extproc.worker.reload import SettingsFile


def polled(file: SettingsFile) -> Settings | None:
    """Return what two looks find: at the first one, a file that has changed may still be being written."""
    found = file.poll()
    return found if found is not None else file.poll()
