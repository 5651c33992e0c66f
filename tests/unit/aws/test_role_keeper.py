"""A keeper of a role: renewed ahead, used to the last second, and never somebody else's credentials."""

import pytest

from extproc.aws.catalogue_keeper import ListingError
from extproc.aws.credentials import RENEWAL_SECONDS, NoCredentialsError, ResolvedCredentials
from extproc.aws.role_keeper import MOST_RETRY_SECONDS, SHORTEST_SECONDS, RoleKeeper
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.config.roles import RoleSettings

NOW = 1_800_000_000.0
ROLE = RoleSettings(arn="arn:aws:iam::123456789012:role/acme")
KEYS = Credentials("ASIA1", "secret", "token")
HOUR = 3600.0


class Sts:
    """An STS whose credentials are valid for `valid` seconds; it fails with `error`, and lists fail with `listing`."""

    def __init__(self) -> None:
        self.now = NOW
        self.valid = HOUR
        self.error: Exception | None = None
        self.listing: Exception | None = None
        self.keeper = RoleKeeper("eu-west-1", ROLE, 10 * HOUR, self.assume, self.list_models, lambda: self.now)

    def assume(self, region: str, role: RoleSettings) -> ResolvedCredentials:
        assert (region, role) == ("eu-west-1", ROLE)
        if self.error:
            raise self.error
        return ResolvedCredentials(KEYS, "role", self.now + self.valid)

    def list_models(self, region: str, keys: Credentials) -> Catalogue:
        assert (region, keys) == ("eu-west-1", KEYS)
        if self.listing:
            raise self.listing
        return Catalogue.build((), (), region)


@pytest.fixture
def sts() -> Sts:
    return Sts()


def test_it_is_needed_until_it_was_assumed(sts: Sts) -> None:
    keeper = sts.keeper
    assert keeper.is_needed()
    assert keeper.identity() is None
    assert keeper.catalogue.entries() == seed("eu-west-1").entries()
    keeper.refresh()
    assert not keeper.is_needed()
    assert keeper.identity() == KEYS
    assert keeper.catalogue.entries() == seed("eu-west-1").entries(), "the list is asked for apart"
    keeper.refresh_list()
    assert keeper.catalogue.entries() == ()


def test_it_is_due_before_its_credentials_expire(sts: Sts) -> None:
    sts.keeper.refresh()
    assert sts.keeper.due == NOW + HOUR - RENEWAL_SECONDS
    sts.valid = 30.0
    sts.keeper.refresh()
    assert sts.keeper.due == NOW + SHORTEST_SECONDS


def test_its_list_is_due_apart_from_its_credentials(sts: Sts) -> None:
    sts.keeper.refresh()
    sts.keeper.refresh_list()
    assert (sts.keeper.due, sts.keeper.list_due) == (NOW + HOUR - RENEWAL_SECONDS, NOW + 10 * HOUR)


def test_without_credentials_no_list_is_asked_for(sts: Sts) -> None:
    sts.keeper.refresh_list()
    assert sts.keeper.catalogue.entries() == seed("eu-west-1").entries()
    assert sts.keeper.list_due == 0.0


def test_credentials_are_used_to_the_last_second_while_sts_fails(sts: Sts, caplog: pytest.LogCaptureFixture) -> None:
    sts.keeper.refresh()
    sts.error = NoCredentialsError("the role x cannot be assumed: AccessDenied")
    for _ in range(3):
        sts.now = sts.keeper.due
        sts.keeper.refresh()
        assert sts.now < sts.keeper.due <= sts.now + MOST_RETRY_SECONDS
        assert sts.keeper.identity() == KEYS
    assert [record.message for record in caplog.records] == ["the role x cannot be assumed: AccessDenied"]
    sts.now = NOW + HOUR
    assert sts.keeper.identity() is None, "expired credentials are worse than none: AWS rejects them"


def test_a_role_that_was_never_assumed_has_no_identity_and_is_not_needed_again_at_once(sts: Sts) -> None:
    sts.error = NoCredentialsError("no")
    sts.keeper.refresh()
    assert sts.keeper.identity() is None
    assert not sts.keeper.is_needed(), "its callers get an error at once"
    sts.now = sts.keeper.due
    assert sts.keeper.is_needed()
    sts.error = None
    sts.keeper.refresh()
    assert sts.keeper.identity() == KEYS


def test_an_expired_role_that_nobody_renewed_is_needed(sts: Sts) -> None:
    sts.keeper.refresh()
    sts.now += HOUR
    assert sts.keeper.is_needed()


def test_a_role_that_may_list_nothing_has_the_last_list(sts: Sts, caplog: pytest.LogCaptureFixture) -> None:
    sts.listing = ListingError("AccessDenied", "no")
    sts.keeper.refresh()
    sts.keeper.refresh_list()
    assert sts.keeper.identity() == KEYS, "it can call all the same"
    assert sts.keeper.due == NOW + HOUR - RENEWAL_SECONDS, "credentials are not asked for more often because of that"
    assert NOW < sts.keeper.list_due < NOW + HOUR
    assert (sts.keeper.has_failed(), sts.keeper.list_failed()) == (False, True)
    assert sts.keeper.catalogue.entries() == seed("eu-west-1").entries()
    assert "arn:aws:iam::123456789012:role/acme cannot list models in eu-west-1: no" in caplog.text
    sts.listing = None
    sts.keeper.refresh_list()
    assert sts.keeper.catalogue.entries() == ()


def test_any_failure_is_outlived(sts: Sts) -> None:
    sts.error = sts.listing = ZeroDivisionError("a bug")
    sts.keeper.refresh()
    assert sts.keeper.identity() is None
    sts.error = None
    sts.keeper.refresh()
    sts.keeper.refresh_list()
    assert sts.keeper.catalogue.entries() == seed("eu-west-1").entries()
