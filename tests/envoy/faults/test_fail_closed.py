"""A failure anywhere in the worker: nothing untranslated reaches Bedrock, and no frame of Bedrock's reaches a caller.

The worker is a real one, but for a call at each await, function and directive of the serving path that raises on
demand (`worker.py`, which finds them in the source: a new await is tried as soon as it is written). Envoy is
the real one, with the rendered configuration.

Each call is first made without a failure, to see which places it passes and how often; then again with a failure at
each passing of each place: an exception before and behind an await, and a cancellation.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import CONFIG, DEADLINE
from tests.redis.conftest import start_redis as start_redis
from tests.redis.server import Redis

KINDS = ("error before", "error after", "cancelled before")

OFTEN = 3
"""Passings of one await that are tried: a stream reads and writes once for each phase."""

ONCE = re.compile(
    r":(JobRunner\._open_http_runner|HttpJobRunner\.__aenter__):|:JobRunner\.__call__:\d+:await self\._open_http_runner"
)
"""Places that only the first job of a worker passes."""

AFTER = re.compile(r":GrpcioServer\._process:\d+:await call\.abort|:_Call\.run:\d+:await self\.abort|:_Call\.abort:")
"""Places that a call passes only after another failure."""

LIFE = re.compile(
    r"^extproc\.worker\.(concurrency|process|reload|tls):"
    r"|^extproc\.worker\.roles:Roles\.follow:"
    r"|^extproc\.worker\.directories:Directories\.(prepare|close|_close_later):"
    r"|:DynamoDb\.(__aenter__|put):"
    r"|^extproc\.worker\.(last_used|rate_counters|budget_accounts|redis_client)"
    r"|^extproc\.worker\.redis_limits:RedisStore\.(attempted|close|_beat_for_ever):"
    r"|^extproc\.transport\.[\w.]+:(GrpcioServer|Http2Server)\.(start|stop|drain|listen_again|renew|_bind|_wait_for_peers):"
    r"|^extproc\.transport\.grpcio:_check_certificate:"
    r"|^extproc\.transport\.service:tick_for_ever:"
    r"|:\w+\.(__aexit__|close):"
    r"|:(GuardedResolver|ImageResolver)\.resolve:"
    r"|^extproc\.worker\.image_tunnel:"
)
"""Awaits that belong to no call: of a worker's life, of names on the internet, which no test looks up, and of a proxy,
which tests/unit/worker/test_proxies.py has."""

LOOKUPS = re.compile(
    r"^extproc\.worker\.(table_lookups|dynamodb):|:JobRunner\.__call__:\d+:await self\._look_up|:Directories\.look_up:"
)
"""Awaits of a lookup in a table, which a directory in a file never makes; a test of their own passes them."""

ROLES = re.compile(r"^extproc\.worker\.roles:|:JobRunner\.__call__:\d+:await self\._assume")
"""Awaits of a role that is assumed, which organisations without one never make; a test of their own passes them."""

QUERIES = re.compile(r"^extproc\.worker\.usage_queries:|:JobRunner\.__call__:\d+:await self\._query")
"""Awaits of a query of usage, which other calls never make; a test of their own passes them."""

STORE = re.compile(r"^extproc\.worker\.redis_limits:|:JobRunner\.__call__:\d+:await self\._admit")
"""Awaits of a request that is counted in a Redis, which callers without limits never make; a test of their own passes
them."""

SELDOM = re.compile(r":(?:FairSlots|LoopTurns)\.take:\d+:await granted")
"""Awaits that a call passes only while others hold every slot, or begin in this turn of the loop; the unit tests of
`fair_slots` and `loop_turns` have such calls."""

EVENTS = (("event:RequestBody:not told", 1, "error before"), ("event:ResponseBody:not told", 1, "error before"))


def is_await(site: str) -> bool:
    return not site.endswith(":call")


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_nothing_raw_goes_out_wherever_the_worker_fails(start_rig: Any, transport: str) -> None:
    with start_rig(transport) as rig:
        fail_at_the_first_job(rig)
        sites = rig.command("sites")
        passed = {name: rig.passed(name) for name in rig.names}
        for name, *failure in plan(passed):
            rig.fail(name, tuple(failure))
        for site, kind, first in itertools.product(sorted(filter(AFTER.search, sites)), KINDS, firsts(sites)):
            rig.fail("thinking" if ":ExtProcStream.tick:" in first[0] else "stream", first, (site, 1, kind))
        for site in sorted(site for site in sites if site.startswith("extproc.worker.reload:")):
            rig.fail("thinking", (site, 1, "error before"))
        assert rig.worker.poll() is None
        assert b": keepalive" in rig.call("thinking").body, "silence is still looked for"
        assert rig.violations == []
        untried = {site for site in sites if is_await(site) and not rig.tried.get(site)}
        ours = re.compile("|".join(each.pattern for each in (LIFE, SELDOM, LOOKUPS, ROLES, QUERIES, STORE)))
        missed = {site for site in untried if not ours.search(site)}
        assert missed == set(), "no call passes these: make one that does, or say why none can"


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_nothing_raw_goes_out_wherever_a_lookup_fails(start_rig: Any, transport: str) -> None:
    """The same for callers in a table, each of whom is looked up; some of the lookups are throttled at first."""
    table = {"organisations": {}, "tokens": [], "directory": {"dynamodb": {"table": "tenants"}}}
    with start_rig(transport, **table) as rig:
        sites = {site for site in rig.command("sites") if is_await(site) and LOOKUPS.search(site)}
        for name in ("looked up", "throttled"):
            for site, times in sorted(rig.passed(name).items()):
                if site in sites and (name == "looked up" or site not in rig.tried):
                    for number, kind in itertools.product(range(1, min(times, OFTEN) + 1), KINDS):
                        rig.fail(name, (site, number, kind))
        assert rig.worker.poll() is None
        assert rig.call("rejected").status == 401
        assert rig.violations == []
        missed = {site for site in sites if not rig.tried.get(site) and not LIFE.search(site)}
        assert missed == set(), "no lookup passes these: make one that does, or say why none can"


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_nothing_goes_out_by_another_identity_wherever_a_role_fails(start_rig: Any, transport: str) -> None:
    """The same for organisations with roles, each of which is assumed: none of their calls is the gateway's own."""
    table = {"organisations": {}, "tokens": [], "directory": {"dynamodb": {"table": "tenants"}}}
    with start_rig(transport, **table) as rig:
        sites = {site for site in rig.command("sites") if is_await(site) and ROLES.search(site)}
        for site, times in sorted(rig.passed("assumed").items()):
            if site in sites:
                for number, kind in itertools.product(range(1, min(times, OFTEN) + 1), KINDS):
                    rig.fail("assumed", (site, number, kind))
        assert rig.worker.poll() is None
        assert rig.call("assumed").status == 200
        assert rig.violations == []
        missed = {site for site in sites if not rig.tried.get(site) and not LIFE.search(site)}
        assert missed == set(), "no call passes these: make one that does, or say why none can"


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_nothing_but_a_whole_page_is_shown_wherever_a_query_of_usage_fails(start_rig: Any, transport: str) -> None:
    sha256 = hashlib.sha256(f"qc_{'usage':_<43}".encode()).hexdigest()
    watcher = {"name": "usage", "sha256": sha256, "organisations": ["acme"], "scopes": ["usage"]}
    sums = {"ledger": "usage.jsonl", "sqlite": "usage.sqlite"}
    with start_rig(transport, tokens=[*CONFIG["tokens"], watcher], usage=sums) as rig:
        rig.until_well("usage")  # once the ledger was read
        sites = {site for site in rig.command("sites") if is_await(site) and QUERIES.search(site)}
        for site, times in sorted(rig.passed("usage").items()):
            if site in sites:
                for number, kind in itertools.product(range(1, min(times, OFTEN) + 1), KINDS):
                    rig.fail("usage", (site, number, kind))
        assert rig.worker.poll() is None
        assert rig.call("usage").status == 200
        assert rig.violations == []
        missed = {site for site in sites if not rig.tried.get(site)}
        assert missed == set(), "no query passes these: make one that does, or say why none can"


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_nothing_raw_goes_out_and_nothing_stays_held_wherever_counting_fails(
    start_rig: Any, transport: str, start_redis: Callable[..., Redis]
) -> None:
    """The same for callers with limits and budgets, whose requests are counted in a Redis."""
    redis = start_redis()
    own = {"limits": {"concurrent_streams": 100}, "budgets": [{"tokens": "1G", "per": "month"}]}
    keys = {"redis": {"url": redis.url, "timeout_ms": 250}, "organisations": {**CONFIG["organisations"], "acme": own}}
    with start_rig(transport, **keys) as rig:
        sites = {site for site in rig.command("sites") if is_await(site) and STORE.search(site)}
        for name in ("chat", "stream"):
            for site, times in sorted(rig.passed(name).items()):
                if site in sites:
                    for number, kind in itertools.product(range(1, min(times, OFTEN) + 1), KINDS):
                        rig.fail(name, (site, number, kind))
        assert rig.worker.poll() is None
        assert rig.violations == []
        missed = {site for site in sites if not rig.tried.get(site) and not LIFE.search(site)}
        assert missed == set(), "no call passes these: make one that does, or say why none can"
        end = time.monotonic() + DEADLINE
        while not is_settled(redis):
            assert time.monotonic() < end, [redis.send("GET", key) for key in redis.send("KEYS", "{oai}:account:*")]
            time.sleep(0.02)


def is_settled(redis: Redis) -> bool:
    """Return whether nothing is held or open."""
    [account] = redis.send("KEYS", "{oai}:account:*")
    return bool(
        redis.send("GET", account).endswith(" 0") and redis.send("ZCARD", "{oai}:streams:organisation acme") == 0
    )


def fail_at_the_first_job(rig: Any) -> None:
    """Fail where only the first job passes: each failure leaves it to the next call. Some modules come with it."""
    for kind in ("error before", "error before", "cancelled before", "error after"):
        for site in sorted(filter(ONCE.search, rig.command("sites"))):
            rig.fail("embeddings", (site, 1, kind))


def firsts(sites: set[str]) -> list[tuple[str, int, str]]:
    """Failures that lead to each of the places in `AFTER`."""
    ticks = [(site, 1, "error before") for site in sites if ":ExtProcStream.tick:" in site]
    runs = [(site, 1, "cancelled before") for site in sites if "await call.run()" in site]
    return [*EVENTS, *ticks, *runs]


def plan(passed: dict[str, dict[str, int]]) -> list[tuple[str, str, int, str]]:
    """Call, place, passing and kind of each failure. What a short call passes is not tried in the long ones again."""
    tried: set[str] = set()
    planned = []
    for name, places in passed.items():
        for site, times in places.items():
            awaits = is_await(site) and site.startswith("extproc.")
            again = name in (("chat", "stream", "embeddings", "rejected") if awaits else ("chat", "stream"))
            if ONCE.search(site) or LIFE.search(site) or (site in tried and not again):
                continue
            tried.add(site)
            for number in range(1, min(times, OFTEN if awaits else 2) + 1):
                planned += [(name, site, number, kind) for kind in (KINDS if awaits else KINDS[:1])]
    return planned


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_a_stream_that_ends_cleanly_after_a_failure_would_be_detected(start_rig: Any, transport: str) -> None:
    """The bug that the test above is for, put in on purpose: Envoy passes what follows as it is."""
    with start_rig(transport, "--clean-ends") as rig:
        for event in ("RequestHeaders", "RequestBody", "ResponseHeaders"):
            rig.fail("stream", (f"event:{event}:not told", 1, "error before"))
    assert any("reached the caller" in wrong for wrong in rig.violations), rig.violations
    assert not any("reached Bedrock" in wrong for wrong in rig.violations), (
        "the route is closed to what no worker signed"
    )
