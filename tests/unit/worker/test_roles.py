"""The roles of a worker: one attempt for all who wait, a bounded number, and renewal while they are in use."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from extproc.aws.catalogue_keeper import ListingError
from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.bedrock.catalogue import Catalogue, Entry
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import seed
from extproc.config import Organisation, Settings
from extproc.config.roles import RoleSettings
from extproc.exchange.jobs import Assume, Assumed
from extproc.worker import roles as module
from extproc.worker.roles import LISTERS, THREADS, Roles

REGION = "us-east-1"


def role(name: str) -> RoleSettings:
    return RoleSettings(arn=f"arn:aws:iam::123456789012:role/{name}")


class Sts:
    """An STS in whose place a test stands, and lists of models. What is in `hangs` waits until the test is over."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.calls: list[str] = []
        self.lists: list[str] = []
        self.hangs: set[str] = set()
        self.open = threading.Event()
        """Set at the end of a test, and where nothing that hangs is left."""

    def clock(self) -> float:
        self.now += 1e-6
        return self.now

    def _wait(self, name: str) -> None:
        if name in self.hangs:
            assert self.open.wait(60)

    def assume(self, region: str, role: RoleSettings) -> ResolvedCredentials:
        name = role.arn.rpartition("/")[2]
        self.calls.append(name)
        self._wait(name)
        if name.startswith("denied"):
            raise NoCredentialsError("AccessDenied")
        return ResolvedCredentials(Credentials(name, "secret", "token"), name, None)

    def list_models(self, region: str, keys: Credentials) -> Catalogue:
        self.lists.append(keys.access_key)
        self._wait(f"models of {keys.access_key}")
        if keys.access_key == "unlisted":
            raise ListingError("AccessDenied", "no")
        return Catalogue.build((), (), region)


@pytest.fixture
def sts() -> Iterator[Sts]:
    sts = Sts()
    yield sts
    sts.open.set()


@pytest.fixture
async def roles(sts: Sts) -> Roles:
    return Roles({REGION: "bedrock.example"}, 3600.0, sts.assume, sts.list_models, sts.clock)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def key_of(roles: Roles, name: str) -> str | None:
    place = roles.place(REGION, role(name))
    assert place is not None
    assert place.identity is not None
    keys = place.identity()
    return keys.access_key if keys else None


async def test_many_who_wait_for_a_role_have_it_assumed_once(roles: Roles, sts: Sts) -> None:
    assert roles.place(REGION, role("acme")) is None
    sts.hangs.add("acme")
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
    sts.hangs.add("acme")
    assert await roles(Assume(REGION, role("acme")), 0) == Assumed()
    assert roles.place(REGION, role("acme")) is None


async def test_a_role_that_is_being_assumed_takes_one_thread_only(roles: Roles, sts: Sts) -> None:
    sts.hangs.add("acme")
    roles.expect(Settings(organisations={"acme": Organisation(role=role("acme"))}), REGION)
    await until(lambda: sts.calls == ["acme"])
    waiting = asyncio.create_task(roles(Assume(REGION, role("acme")), 60))
    await asyncio.sleep(0)
    await roles(Assume(REGION, role("beta")), 60)
    assert key_of(roles, "beta") == "beta"
    sts.open.set()
    await waiting
    assert key_of(roles, "acme") == "acme"
    assert sts.calls == ["acme", "beta"]


async def test_a_request_makes_a_role_that_waits_for_a_thread_more_urgent(roles: Roles, sts: Sts) -> None:
    sts.hangs |= {"a", "b"}
    names = ("a", "b", "c", "d")
    roles.expect(Settings(organisations={name: Organisation(role=role(name)) for name in names}), REGION)
    await until(lambda: sts.calls == ["a", "b"])
    waiting = asyncio.create_task(roles(Assume(REGION, role("d")), 60))
    await asyncio.sleep(0)
    sts.open.set()
    await waiting
    await roles(Assume(REGION, role("c")), 60)
    assert sorted(sts.calls) == ["a", "b", "c", "d"], "each once"
    assert sts.calls.index("d") == 2


async def test_lists_that_hang_hold_up_no_credentials(roles: Roles, sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_LISTING_SECONDS", 0.01)
    names = [f"hangs{number}" for number in range(2 * (THREADS + LISTERS))]
    sts.hangs |= {f"models of {name}" for name in names}
    for name in (*names, "beta"):
        await roles(Assume(REGION, role(name)), 30)
        assert key_of(roles, name) == name
    await until(lambda: len(sts.lists) == LISTERS)
    for _ in range(2):
        roles.renew()
    sts.open.set()
    await until(lambda: len(sts.lists) == len(names) + 1)
    assert sorted(sts.lists) == sorted((*names, "beta")), "each is asked for once, however often it was due"


async def test_a_list_is_there_after_the_credentials_and_renewed_when_it_is_due(roles: Roles, sts: Sts) -> None:
    await roles(Assume(REGION, role("acme")), 60)

    def models() -> int:
        place = roles.place(REGION, role("acme"))
        assert place is not None
        return len(place.catalogue.entries())

    await until(lambda: models() == 0)
    sts.now += 3599
    await until(lambda: not roles._kept[REGION, role("acme")].listing)
    roles.renew()
    assert sts.lists == ["acme"]
    sts.now += 2
    assert key_of(roles, "acme") == "acme", "it is in use"
    roles.renew()
    await until(lambda: sts.lists == ["acme"] * 2)
    assert sts.calls == ["acme"], "its credentials are valid for longer"


async def test_roles_that_failed_leave_a_thread_to_the_others(roles: Roles, sts: Sts) -> None:
    names = [f"denied{number}" for number in range(2 * THREADS)]
    for name in names:
        await roles(Assume(REGION, role(name)), 60)
    sts.now += 120
    sts.hangs |= set(names)
    roles.renew()
    await until(lambda: len(sts.calls) > len(names))
    await roles(Assume(REGION, role("beta")), 30)
    assert key_of(roles, "beta") == "beta"


def models_of(roles: Roles, name: str) -> Sequence[Entry] | None:
    place = roles.place(REGION, role(name))
    return None if place is None else place.catalogue.entries()


async def test_the_first_calls_wait_for_the_roles_list(roles: Roles, sts: Sts) -> None:
    sts.hangs.add("models of acme")
    waiting = [asyncio.create_task(roles(Assume(REGION, role("acme")), 60)) for _ in range(10)]
    await until(lambda: sts.lists == ["acme"])
    assert roles.place(REGION, role("acme")) is None, "its credentials are there, but its list is not"
    waiting.append(asyncio.create_task(roles(Assume(REGION, role("acme")), 60)))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    sts.open.set()
    assert await asyncio.gather(*waiting) == [Assumed()] * 11
    assert models_of(roles, "acme") == (), "STS's, and not the built-in ones"
    assert sts.calls == ["acme"]


async def test_a_list_that_takes_too_long_is_not_waited_for_again(
    roles: Roles, sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_LISTING_SECONDS", 0.01)
    sts.hangs.add("models of acme")
    await roles(Assume(REGION, role("acme")), 60)
    assert key_of(roles, "acme") == "acme"
    assert models_of(roles, "acme") == seed(REGION).entries()
    sts.open.set()


async def test_a_role_that_may_list_nothing_is_not_waited_for(roles: Roles) -> None:
    await roles(Assume(REGION, role("unlisted")), 60)
    assert key_of(roles, "unlisted") == "unlisted"
    assert models_of(roles, "unlisted") == seed(REGION).entries()


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
