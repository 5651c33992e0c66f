"""Envoy's overload manager, for when connections or memory run out: behind the workers' budget of bytes in flight.

| what runs out | from               | what Envoy does                                                         |
|---------------|--------------------|-------------------------------------------------------------------------|
| connections   | `EnvoyPlan.files`  | it closes a new connection at once, so that those it has can make calls |
| memory, 60 %  | `EnvoyPlan.memory` | it keeps idle connections and unread responses for less, 10 s from 75 % |
| memory, 70 %  | `EnvoyPlan.memory` | it returns free memory to the system                                    |
| memory, 75 %  | `EnvoyPlan.memory` | it resets the HTTP/2 streams that hold most, by 85 % all from 1 MiB on   |
| memory, 85 %  | `EnvoyPlan.memory` | it rejects every new request with 503 and `retry-after`                 |
| memory, 92 %  | `EnvoyPlan.memory` | it closes connections that send something: HTTP/2 after a GOAWAY        |
| memory, 97 %  | `EnvoyPlan.memory` | it takes no new connection                                              |

A request takes Envoy kilobytes and the caller a dozen bytes, also one that is rejected with 503 and whose response the
caller does not read. So the last steps end connections: those that go on sending while memory is that short.

Decisions: docs/decisions.md, D82, D145.
"""

from envoy_data_plane.envoy.config.overload.v3 import (
    BufferFactoryConfig,
    LoadShedPoint,
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ScaledTrigger,
    ScaleTimersOverloadActionConfig,
    ScaleTimersOverloadActionConfigScaleTimer,
    ScaleTimersOverloadActionConfigTimerType,
    ShrinkHeapConfig,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig

from extproc.config import capacity
from extproc.envoy_config import EnvoyPlan
from extproc.envoy_config.messages import packed, seconds

_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
_HEAP = "envoy.resource_monitors.fixed_heap"

_WAITS = (
    ScaleTimersOverloadActionConfigTimerType.HTTP_DOWNSTREAM_CONNECTION_IDLE,
    ScaleTimersOverloadActionConfigTimerType.HTTP_DOWNSTREAM_STREAM_FLUSH,
)
"""Timers that get shorter. A whole response that nobody reads takes Envoy its length, which no budget counts any more:
its stream with the worker has ended. Over HTTP/1.1 Envoy takes it for read, and only its connection for idle."""

_SHORTEST_WAIT = 10.0
"""Seconds that are left of them where memory is short."""

_LEAST_TRACKED = 20
"""Power of two of the bytes from which on Envoy knows what a stream holds, in eight classes up to 128 MiB and more."""

_LOOK_SECONDS = 0.1
"""Interval at which Envoy checks its heap; a second by default, in which a gigabyte can arrive."""


def overload_manager(plan: EnvoyPlan) -> OverloadManager:
    """Return the monitors and the actions; those of memory only where the plan names a limit."""
    if plan.memory is None:
        return OverloadManager(resource_monitors=[_connections(plan)])
    return OverloadManager(
        refresh_interval=seconds(_LOOK_SECONDS),
        resource_monitors=[_connections(plan), _heap(plan.memory)],
        buffer_factory_config=BufferFactoryConfig(minimum_account_to_track_power_of_two=_LEAST_TRACKED),
        actions=[
            OverloadAction(
                name="envoy.overload_actions.reduce_timeouts",
                triggers=[_between(0.6, 0.75)],
                typed_config=packed(_shorter_waits()),
            ),
            OverloadAction(
                name="envoy.overload_actions.shrink_heap",
                triggers=[_from(0.7)],
                typed_config=packed(ShrinkHeapConfig(timer_interval=seconds(1), max_unfreed_memory_bytes=_UNFREED)),
            ),
            OverloadAction(name="envoy.overload_actions.reset_high_memory_stream", triggers=[_between(0.75, 0.85)]),
            OverloadAction(name="envoy.overload_actions.stop_accepting_requests", triggers=[_from(0.85)]),
        ],
        loadshed_points=[
            LoadShedPoint(
                name="envoy.load_shed_points.http2_server_go_away_and_close_on_dispatch", triggers=[_from(0.92)]
            ),
            LoadShedPoint(name="envoy.load_shed_points.tcp_listener_accept", triggers=[_from(0.97)]),
        ],
    )


_UNFREED = 16 * capacity.MIB


def _shorter_waits() -> ScaleTimersOverloadActionConfig:
    shortest = seconds(_SHORTEST_WAIT)
    timers = [ScaleTimersOverloadActionConfigScaleTimer(timer=timer, min_timeout=shortest) for timer in _WAITS]
    return ScaleTimersOverloadActionConfig(timer_scale_factors=timers)


def _connections(plan: EnvoyPlan) -> ResourceMonitor:
    limit = DownstreamConnectionsConfig(max_active_downstream_connections=capacity.connections(plan.files))
    return ResourceMonitor(name=_CONNECTIONS, typed_config=packed(limit))


def _heap(memory: int) -> ResourceMonitor:
    """Return the monitor of the heap, which may have `memory` less `OTHER_MEMORY`, and half of `memory` at least."""
    heap = max(memory - capacity.OTHER_MEMORY, memory // 2)
    return ResourceMonitor(name=_HEAP, typed_config=packed(FixedHeapConfig(max_heap_size_bytes=heap)))


def _from(share: float) -> Trigger:
    return Trigger(name=_HEAP, threshold=ThresholdTrigger(value=share))


def _between(first: float, last: float) -> Trigger:
    """Return a trigger whose action is taken the more, the nearer the use of memory is to `last`."""
    return Trigger(name=_HEAP, scaled=ScaledTrigger(scaling_threshold=first, saturation_threshold=last))
