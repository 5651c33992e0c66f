"""The roles of a worker: one attempt for all who wait, a bounded number, and renewal while they are in use."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.config import Organisation, Settings
from extproc.config.roles import RoleSettings
from extproc.exchange.jobs import Assume, Assumed
from extproc.worker import roles as module
from extproc.worker.roles import Roles

REGION = "us-east-1"


def role(name: str) -> RoleSettings:
    return RoleSettings(arn=f"arn:aws:iam::123456789012:role/{name}")


class Sts:
    """An STS in whose place a test stands; it answers when it is `open`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def assume(self, region: str, role: RoleSettings, assumed: Callable[[ResolvedCredentials], None]) -> Catalogue:
        name = role.arn.rpartition("/")[2]
        self.calls.append(name)
        assert self.open.wait(60)
        if name == "denied":
            raise NoCredentialsError("AccessDenied")
        assumed(ResolvedCredentials(Credentials(name, "secret", "token"), name, None))
        return seed(region)


@pytest.fixture
def sts() -> Sts:
    return Sts()


@pytest.fixture
async def roles(sts: Sts) -> Roles:
    return Roles({REGION: "bedrock.example"}, 3600.0, sts.assume)


def key_of(roles: Roles, name: str) -> str | None:
    place = roles.place(REGION, role(name))
    assert place is not None
    assert place.identity is not None
    keys = place.identity()
    return keys.access_key if keys else None


async def test_many_who_wait_for_a_role_have_it_assumed_once(roles: Roles, sts: Sts) -> None:
    assert roles.place(REGION, role("acme")) is None
    sts.open.clear()
    waiting = [asyncio.create_task(roles(Assume(REGION, role("acme")), 60)) for _ in range(100)]
    await asyncio.sleep(0)
    sts.open.set()
    assert await asyncio.gather(*waiting) == [Assumed()] * 100
    assert key_of(roles, "acme") == "acme"
    assert sts.calls == ["acme"]


async def test_a_role_that_cannot_be_assumed_has_no_identity(roles: Roles) -> None:
    await roles(Assume(REGION, role("denied")), 60)
    assert key_of(roles, "denied") is None


async def test_who_waits_too_long_goes_without(roles: Roles, sts: Sts) -> None:
    sts.open.clear()
    assert await roles(Assume(REGION, role("acme")), 0) == Assumed()
    assert roles.place(REGION, role("acme")) is None
    sts.open.set()


async def test_the_files_roles_are_assumed_before_they_are_needed(roles: Roles, sts: Sts) -> None:
    organisations = {
        "acme": Organisation(role=role("acme")),
        "beta": Organisation(role=role("acme")),
        "far": Organisation(role=role("far"), region="eu-west-1"),
        "closed": Organisation(role=role("closed"), enabled=False),
        "none": Organisation(),
    }
    roles.expect(Settings(organisations=organisations), REGION)
    await roles(Assume(REGION, role("acme")), 60)
    assert key_of(roles, "acme") == "acme"
    assert sts.calls == ["acme"], "not what is disabled, and not in a region that Envoy has no way to"


async def test_the_number_of_roles_is_bounded(roles: Roles, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    for name in ("a", "b"):
        await roles(Assume(REGION, role(name)), 60)
    assert key_of(roles, "a") == "a"
    await roles(Assume(REGION, role("c")), 60)
    assert roles.place(REGION, role("b")) is None, "it was used longest ago"
    assert [key_of(roles, name) for name in ("a", "c")] == ["a", "c"]
