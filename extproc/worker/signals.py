"""The signals that stop a worker."""

import asyncio
import signal
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Signals:
    """What SIGTERM, SIGINT and SIGHUP set: the first of them `stop`, a second one `hurry`."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self) -> None:
        """Count one more of them."""
        (self.hurry if self.stop.is_set() else self.stop).set()


def take_signals() -> Signals:
    """Handle them in the running event loop, instead of as before."""
    signals = Signals()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` has it ignored
            loop.add_signal_handler(number, signals.received)
    return signals
