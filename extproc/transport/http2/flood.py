"""The bound on frames without use that one client may send (RFC 9113, section 10.5), without a clock.

Frames without use (PING, SETTINGS, empty frames, unknown frames) draw on a budget. Data and new streams pay some of it
back, and a driver restores all of it now and then.

The client is an Envoy, and its connection carries the streams of many callers. So nothing that one caller can make
Envoy send ends the connection:

| frame                          | a caller causes it by         | why it does not exhaust the budget                |
|--------------------------------|-------------------------------|---------------------------------------------------|
| HEADERS, then RST_STREAM       | leaving, at any moment        | RST_STREAM of an open stream is free              |
| RST_STREAM after the end       | leaving while its stream ends | one for each stream, which has paid for it        |
| empty DATA with END_STREAM     | a request that ends           | the end of a stream is free                       |
| HEADERS of one stream too many | many requests at once         | a stream pays although it is rejected             |
| WINDOW_UPDATE                  | reading a response            | free, from `USEFUL_INCREMENT` on                  |

A stream that is reset costs what every stream costs, and no more: its work is dropped where the reset arrives in the
same read, its job is cancelled otherwise, and its memory is freed. What is left is what only a broken client sends.

Decisions: docs/decisions.md, D42, D60.
"""

from typing import Final

from extproc.transport.http2.frames import ErrorCode, Http2ConnectionError

FLOOD_BUDGET: Final = 1000
"""Number of frames without use that a client may send between two calls of `restore`."""

PAID_BACK: Final = 4
"""Number of such frames that one frame with data, or one new stream, pays for: grpcio sends two PINGs and two
WINDOW_UPDATEs with each DATA frame."""

USEFUL_INCREMENT: Final = 4096
"""Smallest increment of a WINDOW_UPDATE that is free, in bytes. Envoy sends half a window at least. More of them than
there was data to acknowledge make the window too large, which is an error."""


class FloodBudget:
    """A budget of one connection; `left` is the number of frames without use that it still accepts."""

    def __init__(self) -> None:
        self.left = FLOOD_BUDGET

    def spend(self) -> None:
        """Count one frame without use. Raises `Http2ConnectionError` once there are too many."""
        self.left -= 1
        if self.left < 0:
            raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many frames without use")

    def pay_back(self) -> None:
        """Count one frame with data, or one new stream."""
        self.left = min(FLOOD_BUDGET, self.left + PAID_BACK)

    def restore(self) -> None:
        """Restore the whole budget: some time has passed."""
        self.left = FLOOD_BUDGET
