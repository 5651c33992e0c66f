"""`oai-extproc drain`: take an Envoy out of service without failing a call, as a pod's preStop does."""

import asyncio
from pathlib import Path

import click

from extproc.cli.parameters import ADDRESS, SOCKET, Breakdown, refusing
from extproc.net import Address
from extproc.option_types.seconds import SECONDS
from extproc.telemetry.lines import say

WORKER_SECONDS = 3.0
"""Timeout of one question to a worker."""

WORKER_QUESTIONS = 3
"""Number of questions without a response after which a worker counts as stuck. The end of a pod runs the hook, too, and
there a worker that is only busy must not keep Envoy from being drained."""


@click.command()
@click.option("--admin", type=SOCKET, required=True, help="Envoy's admin interface, as in unix:/run/oai/admin.sock.")
@click.option(
    "--notice",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="Seconds in which load balancers are to notice that health checks fail.",
)
@click.option(
    "--timeout",
    type=SECONDS,
    default=3600.0,
    show_default=True,
    help="Seconds that calls in flight then have; Envoy itself ends a call after an hour.",
)
@click.option(
    "--announce",
    type=SOCKET,
    help="Where to tell the end to whoever asks by HTTP: drain.sock beside the admin socket is what /drained of "
    "`envoy-config --health` leads to.",
)
@click.option(
    "--worker",
    type=ADDRESS,
    help="Drain only if this worker responds. A hook also runs before a worker that is stuck is replaced: then Envoy "
    "stays in service.",
)
def drain(admin: Address, notice: float, timeout: float, announce: Address | None, worker: Address | None) -> None:
    """Take Envoy out of service: fail health checks, wait, ask clients to leave, wait for the last call.

    Envoy serves everything meanwhile, and runs on. Exit code 0 says that no call was in flight any more: end Envoy
    now, then the workers. Exit code 1 says what is left. It cannot be taken back but for the health checks
    (POST /healthcheck/ok).
    """
    if worker is not None and (stuck := _stuck(worker)):
        say(f"not drained: {stuck}. The worker is to be replaced, and Envoy stays in service")
        return
    from extproc.envoy_admin.client import Admin
    from extproc.envoy_admin.drain import DrainError, Patience, drain_and_announce
    from extproc.transport.listen import ListenError

    envoy, patience = Admin(Path(admin.path)), Patience(notice, timeout)
    try:
        with refusing(ListenError):
            asyncio.run(drain_and_announce(envoy, patience, say, announce))
    except DrainError as error:
        raise Breakdown(str(error)) from error


def _stuck(worker: Address) -> str:
    """Why the worker is taken for stuck; empty where it responds, be it that it stops."""
    from extproc.transport.health import SilentError, UnhealthyError, check

    silence = ""
    for _ in range(WORKER_QUESTIONS):
        try:
            check(worker, WORKER_SECONDS)
        except SilentError as error:
            silence = str(error)
        except UnhealthyError:
            return ""
        else:
            return ""
    return silence
