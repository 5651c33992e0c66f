"""The keys of a Redis."""

import pytest

from extproc.config import ConfigError, parse


def test_a_url_has_its_parts() -> None:
    redis = parse(
        b"redis: {url: 'rediss://redis.example:7000/3', password_file: secret}", "/etc/oai/gateway.yaml"
    ).redis
    assert redis is not None
    assert (redis.address, redis.database, redis.tls) == (("redis.example", 7000), 3, True)
    assert redis.password_file == "/etc/oai/secret"
    usual = parse(b"redis: {url: 'redis://[::1]'}").redis
    assert usual is not None
    assert (usual.address, usual.database, usual.tls) == (("::1", 6379), 0, False)


def test_budgets_need_no_file_beside_it() -> None:
    text = b"redis: {url: redis://127.0.0.1}\nbudgets: {organisation: [{tokens: 5, per: day}]}"
    assert parse(text).budgets.organisation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("url: 'redis://user:secret@h'", "redis.url: expected the URL of a Redis or Valkey without a user or password"),
        ("url: 'http://h'", "redis.url: expected"),
        ("url: 'redis://h:70000'", "redis.url: Port out of range"),
        ("url: redis://h:0", "redis.url: nothing can listen at port 0"),
        ("url: redis://h, timeout_ms: 0", "redis.timeout_ms: expected a whole number of milliseconds from 1 to 250"),
        ("url: redis://h, ca_file: a", "redis.ca_file: the URL begins with redis://, which has no TLS"),
        ("url: redis://h, username: a", "redis.username: a user needs a password"),
        ("url: redis://h, prefix: 'a}b'", "redis.prefix: expected a machine name"),
        ("url: redis://h, password: a", "redis.password: "),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"redis: {{{text}}}".encode())
    assert words in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("section", ["rate_limits", "budgets"])
def test_two_places_are_one_too_many(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.sqlite: `redis` is where all is counted; keep one of the two"):
        parse(f"redis: {{url: redis://h}}\n{section}: {{sqlite: a}}".encode())


BY_ENVOY = "redis: {url: redis://h}\nrate_limits: {by: envoy, service: 'ratelimit:8081'}\n"


@pytest.mark.parametrize(
    "more",
    [
        "budgets: {organisation: [{tokens: 5, per: day}]}",
        "organisations: {acme: {user_budgets: [{tokens: 5, per: day}]}}",
        f"organisations: {{acme: {{}}}}\ntokens: [{{name: a, sha256: {'ab' * 32}, organisations: [acme], "
        "budgets: [{tokens: 5, per: day}]}]",
        "directory: {dynamodb: {table: oai}}",
    ],
)
def test_a_service_of_rates_leaves_it_the_rest(more: str) -> None:
    assert parse((BY_ENVOY + more).encode()).redis is not None


def test_one_in_which_nothing_is_counted_is_an_error() -> None:
    with pytest.raises(ConfigError, match="redis: nothing is counted there, as there are no budgets"):
        parse(BY_ENVOY.encode())
