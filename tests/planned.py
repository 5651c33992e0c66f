"""A step of the plan of a request, for tests of one step."""

from typing import Any

from extproc.translate.ignored import Ignored


class Planned:
    """The result of a step of the plan, and the fields that it ignored."""

    def __init__(self, step: Any, ignored: Ignored) -> None:
        self._step = step
        self.ignored = ignored.paths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)
