"""gRPC's health protocol (`grpc.health.v1`): its two answers, and asking for them from outside.

Invariant: whatever listens at an address, or does not, `check` returns only for one that says SERVING; for everything
else it raises `UnhealthyError`, and within the time it was given.
"""

import grpc

from extproc.net import Address
from extproc.transport.service import HEALTH, NOT_SERVING, SERVING


class UnhealthyError(Exception):
    """The worker does not serve; the message says what was there instead."""


class SilentError(UnhealthyError):
    """The worker takes the call and sends nothing: its event loop is stuck."""


def check(address: Address, seconds: float) -> None:
    """Ask the worker at `address`, in plain text, whether it serves; raises `UnhealthyError`, or `SilentError`."""
    # A proxy that the environment names is for the way to AWS, not for the way to a worker.
    with grpc.insecure_channel(str(address), options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(f"/{HEALTH}/Check", request_serializer=bytes, response_deserializer=bytes)
        try:
            answer = ask(b"", timeout=seconds)
        except grpc.RpcError as error:
            silent = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            raise (SilentError if silent else UnhealthyError)(f"{address}: {_reason(error, seconds)}") from error
    if answer != SERVING:
        state = "starting, or about to stop" if answer == NOT_SERVING else f"no worker of ours, it answers {answer!r}"
        raise UnhealthyError(f"{address}: not serving: {state}")


def _reason(error: grpc.RpcError, seconds: float) -> str:
    if not isinstance(error, grpc.Call):
        return str(error)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {seconds:g} seconds"
    return f"cannot be asked: {error.details()}"
