"""A limit to the CPU time of one piece of work, for a process that does one after the other in its main thread.

Decision: docs/decisions.md, D147.
"""

import signal
from types import FrameType, TracebackType

GRACE = 2.0
"""Times its limit at which a piece of work ends the process: it is in a call that cannot be interrupted."""

END_SIGNAL = signal.SIGVTALRM
"""Signal by which the kernel then ends it, and from which its parent knows why."""


class CpuLimitError(BaseException):
    """The work takes too long. No `except Exception` on its way keeps it."""


class CpuLimit:
    """Raises `CpuLimitError` into its `with` block once that has used so much CPU; then the process goes on.

    It takes `SIGPROF` and `SIGVTALRM` for itself. Python handles signals between the steps of its interpreter, so one
    call into a C extension is not interrupted; where it lasts until `GRACE` times the limit of CPU in user mode, the
    kernel ends the process by `END_SIGNAL`, which has no handler.

    Invariant: outside of the block nothing is raised, however late the signal is handled.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed = False
        signal.signal(signal.SIGPROF, self._interrupt)
        signal.signal(END_SIGNAL, signal.SIG_DFL)

    def __enter__(self) -> None:
        self._armed = True
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        signal.setitimer(signal.ITIMER_VIRTUAL, GRACE * self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise CpuLimitError
