"""AWS's settings in files, the shared credentials file and the config file, while they change.

Kubernetes mounts keys as a Secret, whose files are swapped when it changes; other operators write over them. A changed
file is reported once it is the same at two looks in a row: whoever writes it in several steps is done by then.

Decision: docs/decisions.md, D104.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from extproc.worker.file_stamp import Stamp, stamp

FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
"""The variable that names each file, and where botocore looks without it."""


class AwsFiles:
    """The two files of one environment, and their versions that have been reported."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Regard the files as they are now as reported."""
        named = (environment.get(variable) or default for variable, default in FILES.items())
        self._paths = tuple(Path(os.path.expanduser(os.path.expandvars(name))) for name in named)
        self._reported = self._seen = self._look()

    def changed(self) -> bool:
        """Return whether the files are another version than the one reported last, at rest since the last call.

        Each version is reported once.
        """
        before, self._seen = self._seen, self._look()
        if self._seen == self._reported or self._seen != before:
            return False
        self._reported = self._seen
        return True

    def _look(self) -> tuple[Stamp | None, ...]:
        return tuple(stamp(path) for path in self._paths)
