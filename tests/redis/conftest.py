"""Redis servers for tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.redis.server import Redis


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., Redis]]:
    """Starts servers for one test; the arguments are those of `Redis`."""
    servers: list[Redis] = []

    def start(*options: str, port: int = 0, password: str = "") -> Redis:
        servers.append(Redis(tmp_path / f"redis-{len(servers)}", *options, port=port, password=password))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A server for tests that empty it first."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(shared_redis: Redis) -> Redis:
    """An empty server."""
    shared_redis.send("FLUSHALL")
    return shared_redis
