"""A limit to the CPU time of one piece of work, for a process that does one after the other in its main thread."""

import signal
from types import FrameType, TracebackType


class CpuLimitError(BaseException):
    """The work takes too long. No `except Exception` on its way keeps it."""


class CpuLimit:
    """Raises `CpuLimitError` into its `with` block once that has used so much CPU; then the process goes on.

    It takes `SIGPROF` for itself. Python handles signals between the steps of its interpreter: one call into a C
    extension ends first.

    Invariant: outside of the block nothing is raised, however late the signal is handled.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed = False
        signal.signal(signal.SIGPROF, self._interrupt)

    def __enter__(self) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise CpuLimitError
