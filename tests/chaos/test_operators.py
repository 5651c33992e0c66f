"""Operators and machines at work on a running gateway: they stop it, stop parts of it, break its files."""

import os
import signal

from tests.chaos.callers import BROKEN, ERROR, WHOLE
from tests.chaos.scene import Scene, until
from tests.chaos.test_kills import ENVOY, WORKER, kill

SECTION = "An operator, or the machine"


def test_a_worker_that_is_stopped_is_detected_and_replaced(fragile: Scene) -> None:
    """SIGSTOP imitates everything that keeps a worker from its event loop."""

    def stop() -> None:
        since = len(fragile.gateway.log())
        os.kill(fragile.gateway.pids(WORKER)[0], signal.SIGSTOP)
        fragile.gateway.wait_for(r"worker-\d: was ended by SIGKILL", since)

    sees = (BROKEN, ERROR) if fragile.workers == 1 else (BROKEN, ERROR, WHOLE)
    fragile.run(
        SECTION,
        "a worker is stuck (SIGSTOP)" if fragile.workers == 1 else "one of two workers is stuck (SIGSTOP)",
        "streaming",
        stream=True,
        strike=stop,
        sees=sees,
        spares_neighbours=False,
    )


def test_an_envoy_that_is_stopped_is_detected_and_replaced(fragile: Scene) -> None:
    def stop() -> None:
        since = len(fragile.gateway.log())
        os.kill(fragile.gateway.pids(ENVOY)[0], signal.SIGSTOP)
        fragile.gateway.wait_for("envoy: was ended by SIGKILL", since)

    fragile.run(
        SECTION,
        "Envoy is stuck (SIGSTOP)",
        "streaming",
        stream=True,
        strike=stop,
        sees=(BROKEN,),
        spares_neighbours=False,
    )


def test_a_worker_that_gets_sigterm_ends_and_is_replaced(fragile: Scene) -> None:
    """Under `up` it gives its calls two seconds; `serve` of its own, which a pod has, gives them five minutes."""

    def terminate() -> None:
        since = len(fragile.gateway.log())
        os.kill(fragile.gateway.pids(WORKER)[0], signal.SIGTERM)
        fragile.gateway.wait_for("ended with exit code 0, starting it again", since)

    fragile.run(
        SECTION,
        "SIGTERM to a worker of `up`",
        "streaming",
        stream=True,
        strike=terminate,
        sees=(BROKEN, WHOLE),
        spares_neighbours=False,
    )


def test_a_broken_gateway_yaml_changes_nothing_even_when_workers_die(fragile: Scene) -> None:
    def spoil() -> None:
        since = len(fragile.gateway.log())
        fragile.gateway.config_path.write_text("nonsense: [")
        fragile.gateway.wait_for("gateway.yaml", since)

    fragile.run(SECTION, "gateway.yaml is broken", "streaming", stream=True, strike=spoil, sees=(WHOLE,))
    for program, name in ((WORKER, "a worker"), (ENVOY, "Envoy")):
        fragile.run(
            SECTION,
            f"gateway.yaml is broken, and {name} dies",
            "headers",
            stream=True,
            strike=kill(fragile, program),
            sees=(ERROR, WHOLE, BROKEN, "no answer"),
            spares_neighbours=False,
        )


def test_a_socket_that_is_removed_is_made_again(fragile: Scene) -> None:
    def remove() -> None:
        sockets = sorted(fragile.gateway.run_directory.glob("worker-*.sock"))
        for path in sockets:
            path.unlink()
        until(lambda: all(path.exists() for path in sockets), "the sockets are not made again")

    fragile.run(SECTION, "the workers' sockets are removed", "streaming", stream=True, strike=remove, sees=(WHOLE,))


def test_up_that_gets_sigterm_finishes_calls_in_flight(fragile: Scene) -> None:
    calls = [fragile.begin(phase, stream=stream) for phase in ("waiting", "streaming") for stream in (False, True)]
    fragile.gateway.process.send_signal(signal.SIGTERM)
    fragile.gateway.wait_for(f"waiting for calls in flight: {len(calls)}")
    outcomes = [one.end() for one in calls]
    fragile.check(outcomes[0], outcomes[1:], [WHOLE])
    assert fragile.gateway.process.wait(60) == 0
    fragile.add(SECTION, "SIGTERM to `up`", "streaming", "stream", outcomes[-1], outcomes[:-1])
