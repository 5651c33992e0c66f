"""The connection to a Redis: who it trusts, what it may do there, and what it does about a server that fails."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from extproc.config.redis import RedisSettings
from extproc.limits.counters import Decision, Scope
from extproc.limits.spending import Charge
from extproc.worker.redis_client import MOST_FAILURES, RedisClient
from extproc.worker.redis_connection import RedisConnection, RedisError, RedisTimeoutError, pack
from extproc.worker.redis_scripts import ADMIT, BEAT, END
from tests.certificates import self_signed
from tests.envoy.gateway.proxies import free_port
from tests.redis.server import Redis
from tests.redis.workers import Worker

StartRedis = Callable[..., Redis]

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


@asynccontextmanager
async def client(settings: RedisSettings) -> AsyncIterator[RedisClient]:
    """A client whose first attempt to connect is over."""
    made = RedisClient(settings, (ADMIT, END, BEAT), "{oai}:")
    task = asyncio.create_task(made.run(lambda: None))
    await made.attempted.wait()
    yield made
    task.cancel()
    made.close()


async def reply(made: RedisClient, *words: bytes) -> Any:
    future = asyncio.get_running_loop().create_future()
    made.send(future.set_result, *words)
    return await future


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.01)


async def test_tls_is_verified(start_redis: StartRedis, tmp_path: Path) -> None:
    ours, other = (self_signed(tmp_path / name, "localhost", "IP:127.0.0.1") for name in made(tmp_path, "a", "b"))
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", f"{ours}/cert.pem", "--tls-key-file", f"{ours}/key.pem"]
    start_redis(*options, "--tls-ca-cert-file", f"{ours}/cert.pem")
    for folder, ready in ((ours, True), (other, False)):
        settings = RedisSettings(f"rediss://localhost:{port}", ca_file=f"{folder}/cert.pem")
        async with client(settings) as found:
            assert found.ready is ready
    async with client(RedisSettings(f"rediss://localhost:{port}")) as found:
        assert not found.ready


def made(folder: Path, *names: str) -> tuple[str, ...]:
    for name in names:
        (folder / name).mkdir()
    return names


def test_a_user_with_the_documented_permissions_can_do_all(
    start_redis: StartRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    rule = re.search(r"^ACL SETUSER (oai on .*)$", PAGE.read_text(), re.MULTILINE)
    assert rule is not None
    redis.send("ACL", "SETUSER", *rule[1].replace("PASSWORD", "secret").split())
    (tmp_path / "password").write_text("secret\n")
    settings = RedisSettings(redis.url, username="oai", password_file=f"{tmp_path}/password", timeout_ms=250)
    worker = Worker(redis, lambda: 10**12, redis_settings=settings)
    scopes, charge = [Scope("organisation acme", "acme", 10, 100, 2)], Charge("acme", 100, 60, 2**40, group="users")
    decision = worker.admit(scopes, 10, True)
    assert isinstance(decision, Decision)
    assert decision.rejection is None
    assert worker.reserve("1", [charge]).rejected < 0
    worker.tick()
    redis.send("DEL", *redis.send("KEYS", "{oai}:holds:*"))
    worker.tick()
    assert worker.first("told", 2**40)
    worker.settle(scopes, decision, 10, 50)
    worker.release(scopes, decision)
    worker.settle("1", [charge], [50])
    assert worker.balance("acme").spent == 50
    redis.send("SCRIPT", "FLUSH")
    assert worker.reserve("2", [charge]).rejected == 0
    worker.kill()
    assert "does not work" not in caplog.text


async def test_a_cluster_is_asked_where_it_has_the_keys(start_redis: StartRedis) -> None:
    bus = free_port(), free_port()
    first, second = (start_redis("--cluster-enabled", "yes", "--cluster-port", str(port)) for port in bus)
    slot = int(first.send("CLUSTER", "KEYSLOT", "{oai}:"))
    first.send("CLUSTER", "ADDSLOTSRANGE", *(str(each) for each in (0, slot - 1, slot + 1, 16383)))
    second.send("CLUSTER", "ADDSLOTS", str(slot))
    first.send("CLUSTER", "MEET", "127.0.0.1", str(second.port), str(bus[1]))
    await until(lambda: all("cluster_state:ok" in each.send("CLUSTER", "INFO") for each in (first, second)))
    async with client(RedisSettings(first.url)) as found:
        assert isinstance(await reply(found, b"SET", b"{oai}:told:a", b"1"), RedisError)
        await until(lambda: found.ready)
        assert await reply(found, b"SET", b"{oai}:told:a", b"1") == b"OK"
    assert second.send("GET", "{oai}:told:a") == "1"


async def test_a_command_that_takes_too_long_fails_and_the_next_gets_its_own_reply(redis: Redis) -> None:
    async with client(RedisSettings(redis.url)) as found:
        connection = found._connection
        assert connection is not None
        loop = asyncio.get_running_loop()
        late, next_one = loop.create_future(), loop.create_future()
        connection.send(pack(b"EVAL", SLOW, b"0"), late.set_result, 0.005)
        connection.send(pack(b"ECHO", b"mine"), next_one.set_result)
        assert isinstance(await late, RedisTimeoutError)
        assert await next_one == b"mine"
        assert found.ready


SLOW = b"local n = 0 for i = 1, 20000000 do n = n + 1 end return n"
"""A tenth of a second and more."""


async def test_a_server_that_never_replies_is_left_alone_and_then_connected_to_again(start_redis: StartRedis) -> None:
    redis = start_redis()
    async with client(RedisSettings(redis.url, timeout_ms=1)) as found:
        redis.stop()
        loop = asyncio.get_running_loop()
        for _ in range(MOST_FAILURES):
            assert found.ready
            failed = loop.create_future()
            found.run_script(BEAT, b"", failed.set_result, 0.001)
            assert isinstance(await failed, RedisTimeoutError)
        assert not found.ready
        assert found.connected
        redis.go_on()
        await reply(found, b"PING")
        assert found.ready


async def test_the_log_has_when_a_slow_server_is_left_alone_and_when_it_works_again(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    redis, message = start_redis(), msgspec.msgpack.encode(("worker", [], [], []))
    async with client(RedisSettings(redis.url, timeout_ms=1000)) as found:

        async def beat(seconds: float = 0.0) -> None:
            replied = asyncio.get_running_loop().create_future()
            found.run_script(BEAT, message, replied.set_result, seconds)
            await replied

        redis.stop()
        for _ in range(MOST_FAILURES + 1):
            assert caplog.messages == [] or not found.ready
            await beat(0.001)
        redis.go_on()
        for _ in range(2):
            await beat()
    [trouble, end] = caplog.messages
    assert trouble.endswith(f"does not work: no reply within 1 ms, {MOST_FAILURES} times in a row")
    assert end.endswith("works again")


async def test_a_store_without_memory_is_one_line_of_the_log_for_all_scripts(
    start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    messages = {END: ("w", 1, [("call", [("acme", 5)], (), (), ())]), BEAT: ("w", [], [], [])}
    async with client(RedisSettings(redis.url)) as found:
        redis.send("CONFIG", "SET", "maxmemory", "1")
        for script in (END, BEAT, END):
            failed = asyncio.get_running_loop().create_future()
            found.run_script(script, msgspec.msgpack.encode(messages[script]), failed.set_result)
            assert isinstance(await failed, RedisError)
    told = [record.getMessage() for record in caplog.records if "does not work" in record.getMessage()]
    assert len(told) == 1
    assert told[0].endswith("does not work: OOM command not allowed when used memory > 'maxmemory'.")


async def test_what_is_no_redis_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client(RedisSettings(f"redis://127.0.0.1:{port}")) as found:
        assert not found.ready
    server.close()
    assert "does not work: not a Redis" in caplog.text


async def test_a_place_that_swallows_everything_ends_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.worker.redis_client.CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with client(RedisSettings(f"redis://127.0.0.1:{listener.getsockname()[1]}")) as found:
            assert not found.ready


async def test_a_connection_that_ends_fails_all_its_commands(redis: Redis) -> None:
    lost: list[str] = []
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: RedisConnection(lost.append), "127.0.0.1", redis.port)
    replies: list[Any] = []
    for seconds in (0.0, 30.0):
        connection.send(pack(b"BLPOP", b"nothing", b"0"), replies.append, seconds)
    await asyncio.sleep(0)
    connection.abort("for a reason")
    await until(lambda: len(replies) == 2)
    assert [str(each) for each in replies] == ["for a reason"] * 2
    assert lost == ["for a reason"]


async def test_a_bug_in_what_a_reply_leads_to_is_that_of_its_command_alone(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(RedisSettings(redis.url, timeout_ms=250)) as made:

        def bug(reply: Any) -> None:
            raise KeyError(reply)

        made.send(bug, b"PING")
        assert await reply(made, b"PING") == b"PONG"
    assert [record.message for record in caplog.records if record.exc_info] == ["a reply of the store met a bug"]
