"""`oai-extproc drain`: take an Envoy out of service without failing a call, as a pod's preStop does."""

import asyncio
from pathlib import Path

import click

from extproc.cli.parameters import ADDRESS, SOCKET, GatewayError, user_errors
from extproc.net import Address
from extproc.option_types.seconds import SECONDS
from extproc.telemetry.lines import write_line

WORKER_SECONDS = 3.0
"""Timeout of one health check of a worker, in seconds."""

WORKER_CHECKS = 3
"""Number of health checks without a response after which a worker counts as stuck. The hook also runs at the end of a
pod, where a worker that is only busy must not keep Envoy from being drained."""


@click.command()
@click.option("--admin", type=SOCKET, required=True, help="Envoy's admin interface, as in unix:/run/oai/admin.sock.")
@click.option(
    "--notice",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="Seconds for load balancers to notice that health checks fail.",
)
@click.option(
    "--timeout",
    type=SECONDS,
    default=3600.0,
    show_default=True,
    help="Seconds for calls in flight to finish after that; Envoy itself ends a call after an hour.",
)
@click.option(
    "--announce",
    type=SOCKET,
    help="Where to report the end over HTTP: /drained of `envoy-config --health` leads to drain.sock beside the admin "
    "socket.",
)
@click.option(
    "--worker",
    type=ADDRESS,
    help="Drain only if this worker responds. A hook also runs before a stuck worker is replaced, when Envoy must stay "
    "in service.",
)
def drain(admin: Address, notice: float, timeout: float, announce: Address | None, worker: Address | None) -> None:
    """Take Envoy out of service: fail health checks, wait, ask clients to leave, wait for the last call.

    Envoy serves every call meanwhile, and keeps running. Exit code 0: no call is in flight; end Envoy now, then the
    workers. Exit code 1: the message names what is left. A drain cannot be undone, except for the health checks (POST
    /healthcheck/ok).
    """
    if worker is not None and (stuck := _stuck(worker)):
        write_line(f"not drained: {stuck}. The worker is to be replaced, and Envoy stays in service")
        return
    from extproc.envoy_admin.client import Admin
    from extproc.envoy_admin.drain import DrainError, DrainTimeouts, drain_and_announce
    from extproc.transport.listen import ListenError

    envoy, timeouts = Admin(Path(admin.path)), DrainTimeouts(notice, timeout)
    try:
        with user_errors(ListenError):
            asyncio.run(drain_and_announce(envoy, timeouts, write_line, announce))
    except DrainError as error:
        raise GatewayError(str(error)) from error


def _stuck(worker: Address) -> str:
    """Return why the worker counts as stuck; empty if it responds, even that it is stopping."""
    from extproc.transport.health import SilentError, UnhealthyError, check

    reason = ""
    for _ in range(WORKER_CHECKS):
        try:
            check(worker, WORKER_SECONDS)
        except SilentError as error:
            reason = str(error)
        except UnhealthyError:
            return ""
        else:
            return ""
    return reason
