"""The scopes of a request: own limits before defaults, key by key."""

from extproc.config import Organisation, Token
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.limits.counters import Scope
from extproc.tenancy.rate_limits import any_default, scopes_of

SHA256 = "0" * 64


def scopes(
    defaults: RateLimitSettings, organisation: RateLimits | None = None, token: RateLimits | None = None
) -> tuple[Scope, ...]:
    return scopes_of(defaults, Token("ci", SHA256, limits=token), "acme", Organisation(limits=organisation))


def test_what_has_no_limit_has_no_scope() -> None:
    assert scopes(RateLimitSettings()) == ()
    assert scopes(RateLimitSettings(), RateLimits(), RateLimits(requests_per_minute="unlimited")) == ()
    assert not any_default(RateLimitSettings())


def test_own_limits_come_before_defaults_key_by_key() -> None:
    defaults = RateLimitSettings(RateLimits(10, 20, 30), RateLimits(1, 2, 3))
    assert any_default(defaults)
    assert scopes(defaults, RateLimits(None, "unlimited", 5), RateLimits("unlimited")) == (
        Scope("organisation acme", "acme", 10, 0, 5),
        Scope("token acme ci", "ci", 0, 2, 3),
    )


def test_signed_tokens_count_by_subject() -> None:
    defaults = RateLimitSettings(token=RateLimits(1))
    [one], [two] = [scopes_of(defaults, Token(name, ""), "acme", Organisation()) for name in ("jwt:a", "jwt:b")]
    assert (one.key, two.key, one.name) == ("signed acme jwt:a", "signed acme jwt:b", "jwt:a")


def test_signed_tokens_of_two_organisations_share_nothing() -> None:
    """Two issuers, of an organisation each, may have subjects of one name: `system:serviceaccount:default:default`."""
    defaults = RateLimitSettings(token=RateLimits(1))
    [one], [two] = [scopes_of(defaults, Token("jwt:a", ""), name, Organisation()) for name in ("acme", "rival")]
    assert one.key != two.key


def test_a_token_alone_has_one_scope() -> None:
    assert scopes(RateLimitSettings(), None, RateLimits(4)) == (Scope("token acme ci", "ci", 4),)
