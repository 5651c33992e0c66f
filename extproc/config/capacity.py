"""Capacity: bytes of requests that fit into memory, and callers' connections for which there are open files.

The coefficients are measured with Envoy 1.40 and the interpreted worker; docs/operations.md has the method, and the
margin above the measurements.

Invariant: the `in_flight_bytes` of all workers, times the coefficients, plus the bases, are not more than the memory
limit, unless that is less than the bases and `LEAST_BYTES` for each worker.

Decisions: docs/decisions.md, D66, D327, D329.
"""

from dataclasses import dataclass
from typing import Final

from extproc.config import LimitSettings

MIB = 1024 * 1024

ENVOY_BASE = 128 * MIB
"""Memory of an idle Envoy, and of messages that its threads copy, in bytes."""

ENVOY_PER_BYTE = 3.5
"""Memory of Envoy for each byte of a request in flight."""

SLOW_ENVOY_PER_BYTE = 33.0
"""Memory of Envoy for each byte of a body that arrives in many pieces: each read of 512 bytes and more keeps 16 KiB."""

WORKER_BASE = 112 * MIB
"""Memory of an idle worker, and of its lookup process for AWS, in bytes."""

WORKER_PER_BYTE = 3.0
"""Memory of a worker for each byte of a request in flight."""

STREAM_BYTES: Final = 192 * 1024
"""Least number of bytes that a request counts beside its body, for the memory of its stream in Envoy while its caller
does not read: 0.63 MB on HTTP/2, 0.6 MB on HTTP/1.1."""

LEAST_BYTES = MIB
"""Least bytes in flight of each worker, however little memory there is."""

OTHER_MEMORY = 64 * MIB
"""Memory of Envoy outside its heap, in bytes: code, threads' stacks."""

MOST_CONNECTIONS = 20_000
RESERVED_FILES = 256
"""Open files of Envoy beside calls: listeners, health checks, connections to workers, logs."""

OWN_FILES = 128
"""Those of them that are no connections to the health listener."""

MOST_HEALTH_CONNECTIONS = 1_000

FILES_PER_CALL = 2
"""Open files of a call: the caller's connection, and one to Bedrock."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory limits in bytes. `envoy` is None where Envoy and the workers have to share `worker`."""

    worker: int
    envoy: int | None = None


def in_flight_bytes(limits: LimitSettings, memory: Memory, workers: int) -> int:
    """Return how many bytes of requests each of `workers` may have in flight."""
    if limits.in_flight_bytes != "auto":
        return max(LEAST_BYTES, limits.in_flight_bytes // workers)
    left = memory.worker - workers * WORKER_BASE
    if memory.envoy is None:
        whole = (left - ENVOY_BASE) / (ENVOY_PER_BYTE + WORKER_PER_BYTE)
    else:
        whole = min(left / WORKER_PER_BYTE, (memory.envoy - ENVOY_BASE) / ENVOY_PER_BYTE)
    return max(LEAST_BYTES, int(whole / workers))


def organisation_bytes(limits: LimitSettings, whole: int, workers: int, organisations: int) -> int:
    """Return how many of `whole`, a worker's bytes in flight, one organisation may have."""
    if limits.organisation_in_flight_bytes != "auto":
        return min(whole, max(LEAST_BYTES, limits.organisation_in_flight_bytes // workers))
    return whole if organisations == 1 else whole // 2


def slow_bytes(size: int) -> int:
    """Return how many bytes in flight a body of `size` bytes counts for that Envoy may have in small pieces."""
    return int(size * SLOW_ENVOY_PER_BYTE / ENVOY_PER_BYTE)


def stream_bytes(whole: int, files: int) -> int:
    """Return how many bytes a request counts beside its body, of the `whole` that all workers may have in flight.

    A caller's HTTP/2 connection carries many calls, and each of them may take a connection to Bedrock, which is an open
    file: with what this returns, no more calls are in flight than there are `files` for.
    """
    return max(STREAM_BYTES, -(-whole // connections(files)))


def envoy_memory(in_flight: int) -> int:
    """Return the memory that Envoy takes for so many bytes of requests in flight, on all workers together."""
    return ENVOY_BASE + int(in_flight * ENVOY_PER_BYTE)


def connections(files: int) -> int:
    """Return how many callers' connections Envoy may have with so many open files, so that each can make a call."""
    return max(1, min(MOST_CONNECTIONS, (files - RESERVED_FILES) // FILES_PER_CALL))


def health_connections(files: int) -> int:
    """Return how many connections to its health listener Envoy may have: of the files that calls leave."""
    left = files - FILES_PER_CALL * connections(files) - OWN_FILES
    return max(1, min(MOST_HEALTH_CONNECTIONS, left))


def most_files() -> int:
    """Return how many open files `MOST_CONNECTIONS` take."""
    return RESERVED_FILES + FILES_PER_CALL * MOST_CONNECTIONS
