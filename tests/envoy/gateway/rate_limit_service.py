"""A rate limit service in a thread: the protocol of Envoy's own, with counters in memory that never start anew."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
from envoy_data_plane.envoy.service.ratelimit.v3 import (
    RateLimitRequest,
    RateLimitResponse,
    RateLimitResponseCode,
    RateLimitResponseDescriptorStatus,
    RateLimitResponseRateLimit,
    RateLimitResponseRateLimitUnit,
)

Entries = tuple[tuple[str, str], ...]
Call = dict[Entries, int]

RESET_SECONDS = 56
"""Until a limit is free again, in its own words."""


class RateLimitService:
    """A service whose `calls` are the descriptors and hits that it was sent, call by call.

    `limits` are the hits that descriptors may have; without one they may have any.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.limits: Mapping[Entries, int] = {}
        self._used: Counter[Entries] = Counter()
        self._lock = threading.Lock()
        self.released = threading.Event()
        """While it is not set, every call hangs."""
        self.released.set()
        self._server: grpc.Server | None = None
        self.port = 0

    def start(self) -> None:
        """Listen: on a free port at first, and on the same one after a `stop`."""
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self._judge, request_deserializer=RateLimitRequest().parse, response_serializer=bytes
        )
        name = "envoy.service.ratelimit.v3.RateLimitService"
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ShouldRateLimit": handler}),)
        )
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Close the port, and all connections."""
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def forget(self, limits: Mapping[Entries, int] | None = None) -> None:
        """Begin anew, with these limits."""
        with self._lock:
            self.calls, self.limits, self._used = [], limits or {}, Counter()

    def _judge(self, request: RateLimitRequest, _: Any) -> RateLimitResponse:
        assert request.domain == "oai"
        self.released.wait(30)
        call: Call = {}
        for descriptor in request.descriptors:
            entries = tuple((entry.key, entry.value) for entry in descriptor.entries)
            assert entries not in call, "a descriptor is there twice"
            assert descriptor.hits_addend is not None, "the hits are no number"
            call[entries] = descriptor.hits_addend
        with self._lock:
            self.calls.append(call)
            self._used.update(call)
            codes = [self._code(entries) for entries in call]
        over = RateLimitResponseCode.OVER_LIMIT
        return RateLimitResponse(
            overall_code=over if over in codes else RateLimitResponseCode.OK, statuses=[_status(code) for code in codes]
        )

    def _code(self, entries: Entries) -> RateLimitResponseCode:
        """Return the verdict, as Envoy's own service has it: over a limit is what exceeds it with its own hits."""
        limit = self.limits.get(entries)
        over = limit is not None and self._used[entries] > limit
        return RateLimitResponseCode.OVER_LIMIT if over else RateLimitResponseCode.OK


def _status(code: RateLimitResponseCode) -> RateLimitResponseDescriptorStatus:
    limit = RateLimitResponseRateLimit(requests_per_unit=100, unit=RateLimitResponseRateLimitUnit.MINUTE)
    return RateLimitResponseDescriptorStatus(
        code=code, current_limit=limit, duration_until_reset=timedelta(seconds=RESET_SECONDS)
    )
