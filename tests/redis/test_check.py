"""`oai-extproc check` tries a real Redis as a worker would use it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from extproc.cli import main
from tests.certificates import self_signed
from tests.envoy.gateway.proxies import free_port
from tests.redis.server import Redis

StartRedis = Callable[..., Redis]

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Result]:
    """Runs `check` with a Redis; the arguments are its keys."""

    def check(*options: str, **redis: object) -> Result:
        keys = "".join(f"  {key}: {value}\n" for key, value in redis.items())
        (tmp_path / "gateway.yaml").write_text(f"region: us-east-1\nredis:\n{keys}")
        return CliRunner().invoke(main, ["check", "--config", str(tmp_path / "gateway.yaml"), *options])

    return check


def test_one_that_works_is_a_line(check: Callable[..., Result], redis: Redis) -> None:
    result = check(url=redis.url)
    assert result.exit_code == 0, result.output
    assert f"The Redis at {redis.url} works." in result.stdout
    assert [key for key in redis.send("KEYS", "*") if key != "{oai}:told:check"] == []


def test_offline_asks_nobody(check: Callable[..., Result]) -> None:
    result = check("--offline", url=f"redis://127.0.0.1:{free_port()}")
    assert result.exit_code == 0
    assert "The Redis" not in result.stdout


def test_one_that_is_away_is_not_known(check: Callable[..., Result]) -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    result = check(url=url)
    assert result.exit_code == 1
    assert f"redis.url: {url} cannot be used" in result.stderr


def test_one_that_has_stopped_is_not_known(check: Callable[..., Result], start_redis: StartRedis) -> None:
    redis = start_redis()
    redis.stop()
    try:
        result = check(url=redis.url)
    finally:
        redis.go_on()
    assert result.exit_code == 1
    assert "no reply in time" in result.stderr


def test_a_login_that_is_rejected_is_named(
    check: Callable[..., Result], start_redis: StartRedis, tmp_path: Path
) -> None:
    redis = start_redis("--requirepass", "secret", password="secret")
    (tmp_path / "password").write_text("another")
    for keys in ({}, {"password_file": "password"}):
        result = check(url=redis.url, **keys)
        assert result.exit_code == 2
        assert "rejects the login" in result.stderr
        assert "another" not in result.stderr
    (tmp_path / "password").write_text("secret")
    assert check(url=redis.url, password_file="password").exit_code == 0
    result = check(url=redis.url, password_file="missing")
    assert result.exit_code == 2
    assert "missing" in result.stderr


def test_a_user_may_do_what_the_page_says_and_no_less(
    check: Callable[..., Result], start_redis: StartRedis, tmp_path: Path
) -> None:
    redis = start_redis()
    rule = re.search(r"^ACL SETUSER (oai on .*)$", PAGE.read_text(), re.MULTILINE)
    assert rule is not None
    (tmp_path / "password").write_text("secret")
    redis.send("ACL", "SETUSER", *rule[1].replace("PASSWORD", "secret").split())
    assert check(url=redis.url, username="oai", password_file="password").exit_code == 0
    redis.send("ACL", "SETUSER", "oai", "-set")
    result = check(url=redis.url, username="oai", password_file="password")
    assert result.exit_code == 2
    assert "permits too little (NOPERM" in result.stderr


def test_a_replica_is_not_the_one_to_write(check: Callable[..., Result], start_redis: StartRedis) -> None:
    redis = start_redis()
    redis.send("REPLICAOF", "127.0.0.1", str(free_port()))
    result = check(url=redis.url)
    assert result.exit_code == 2
    assert "is a replica, which takes no writes" in result.stderr


def test_a_certificate_that_is_not_accepted_is_named(
    check: Callable[..., Result], start_redis: StartRedis, tmp_path: Path
) -> None:
    folder, port = self_signed(tmp_path), free_port()
    files = ["--tls-cert-file", f"{folder}/cert.pem", "--tls-key-file", f"{folder}/key.pem"]
    start_redis("--tls-port", str(port), "--tls-auth-clients", "no", *files, "--tls-ca-cert-file", f"{folder}/cert.pem")
    result = check(url=f"rediss://localhost:{port}")
    assert result.exit_code == 2
    assert "has a certificate that is not accepted" in result.stderr
    assert check(url=f"rediss://localhost:{port}", ca_file="cert.pem").exit_code == 0
