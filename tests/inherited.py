"""What programs that tests start do not inherit from whatever runs the tests."""

import signal


def default_signals() -> None:
    """Handle SIGINT and SIGHUP as in a terminal; a `preexec_fn`.

    A script's background job ignores SIGINT and `nohup` ignores SIGHUP, and children inherit that.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
