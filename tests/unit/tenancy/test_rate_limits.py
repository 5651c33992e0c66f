"""The scopes of a request: own limits before defaults, key by key."""

from extproc.config import Organisation, Settings, Token
from extproc.config.rate_limits import RateLimits, RateLimitSettings
from extproc.limits.counters import Scope
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import MAX_SCOPES, Caller, Directory
from extproc.tenancy.rate_limits import any_default, scopes_of
from extproc.tenancy.store import LookedUp

SHA256 = "0" * 64
KEY = "qc_limited"


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


def limits_of(directory: Directory, found: LookedUp) -> tuple[int, ...]:
    """Return the requests a minute that a caller with this token and organisation may make, by scope."""
    caller = directory.authenticate(f"Bearer {KEY}", None, 0.0, found)
    assert isinstance(caller, Caller)
    return tuple([scope.requests for scope in caller.limits or ()])


def test_what_is_kept_of_a_token_ends_with_its_settings_and_its_organisations() -> None:
    """Of a table, a token and its organisation may be others with each request."""
    directory = Directory(Settings(rate_limits=RateLimitSettings(token=RateLimits(9))))
    token, organisation = Token("ci", digest(KEY), ("acme",)), Organisation()
    for _ in range(2):
        assert limits_of(directory, LookedUp(token, "acme", organisation)) == (9,)
    narrow = Organisation(limits=RateLimits(5))
    for _ in range(2):
        assert limits_of(directory, LookedUp(token, "acme", narrow)) == (5, 9)
    other = Token("ci", digest(KEY), ("acme",), limits=RateLimits(3))
    assert limits_of(directory, LookedUp(other, "acme", narrow)) == (5, 3)
    assert limits_of(directory, LookedUp(token, "acme", organisation)) == (9,)
    assert len(directory._scopes) == 1


def test_as_many_are_kept_as_there_is_room_for() -> None:
    directory = Directory(Settings(rate_limits=RateLimitSettings(token=RateLimits(9))))
    for number in range(2 * MAX_SCOPES + 1):
        token = Token("ci", f"{number:064}", ("acme",))
        directory._scopes_of(token, "acme", Organisation())
    assert len(directory._scopes) == 1
    directory._scopes_of(Token("signed", "", ("acme",)), "acme", Organisation())
    assert len(directory._scopes) == 1
