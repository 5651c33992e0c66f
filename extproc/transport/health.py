"""gRPC's health protocol (`grpc.health.v1`): its two statuses, and a client for them.

Invariant: whatever listens at an address, or does not, `check` returns only if a worker is SERVING; in every other
case it raises `UnhealthyError`, and within `seconds`.
"""

import grpc

from extproc.net import Address
from extproc.transport.health_protocol import HEALTH, NOT_SERVING, SERVING


class UnhealthyError(Exception):
    """A worker that does not serve; the message describes what was there instead."""


class SilentError(UnhealthyError):
    """A worker that takes the call and sends nothing: its event loop is stuck."""


def check(address: Address, seconds: float) -> None:
    """Call the worker's health service at `address`, in plain text; raises `UnhealthyError`, or `SilentError`."""
    # A proxy of the environment is for connections to AWS, not to a worker.
    with grpc.insecure_channel(str(address), options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(f"/{HEALTH}/Check", request_serializer=bytes, response_deserializer=bytes)
        try:
            status = ask(b"", timeout=seconds)
        except grpc.RpcError as error:
            silent = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            raise (SilentError if silent else UnhealthyError)(f"{address}: {_reason(error, seconds)}") from error
    if status != SERVING:
        state = "starting, or about to stop" if status == NOT_SERVING else f"not a worker, its response is {status!r}"
        raise UnhealthyError(f"{address}: not serving: {state}")


def _reason(error: grpc.RpcError, seconds: float) -> str:
    if not isinstance(error, grpc.Call):
        return str(error)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no response within {seconds:g} seconds"
    return f"the health check failed: {error.details()}"
