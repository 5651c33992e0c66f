"""The generic cell rate algorithm: a bucket that fills within a minute, in one number.

That number is the time at which the bucket is full again (`full_at`), in nanoseconds. What is taken moves it on by the
time in which as much flows back. So what remains, and when all is back, are what OpenAI's headers tell.

Invariant: within any time t, takes that `wait` permits are at most `limit` * (1 + t / minute), but for a nanosecond
of rounding each, and for what `refund` adds later.

Source: ITU-T I.371 (virtual scheduling), and OpenAI's headers, whose reset is the time until the bucket is full.

Decision: docs/decisions.md, D235.
"""

from typing import Final

MINUTE: Final = 60_000_000_000

LONGEST_DEBT: Final = 10 * MINUTE
"""What was taken beyond this is forgiven."""


def cost(amount: int, limit: int) -> int:
    """Return the time in which `amount` flows back: `amount * MINUTE // limit`.

    Compiled code multiplies numbers below 2**30 at a tenth of what larger ones cost.
    """
    whole, part = MINUTE // limit, MINUTE % limit
    return amount * whole + amount * part // limit


def current(full_at: int, now: int) -> int:
    """Return when the bucket is full again: not before now."""
    return min(max(full_at, now), now + LONGEST_DEBT)


def wait(full_at: int, now: int, amount: int, limit: int) -> int:
    """Return how long to wait until `amount` can be taken; `full_at` is current."""
    return max(full_at + cost(amount, limit) - now - MINUTE, 0)


def remaining(full_at: int, now: int, limit: int) -> int:
    """Return how much can be taken; `full_at` is current."""
    used = full_at - now
    return limit - (used * limit + MINUTE - 1) // MINUTE if used < MINUTE else 0


def refund(reserved: int, used: int, full_at: int, now: int, limit: int) -> int:
    """Return by how much to move the bucket whose reservation made it full at `full_at`, now that the use is known.

    What has flowed back of the reservation since is not given back twice; no debt is longer than `LONGEST_DEBT`.
    """
    change = cost(used, limit) - cost(reserved, limit)
    return min(change, LONGEST_DEBT) if change >= 0 else -min(-change, max(full_at - now, 0))


def moved(full_at: int, now: int, change: int) -> int:
    """Return when a bucket is full again that is moved by what `refund` returned."""
    return current(current(full_at, now) + change, now)
