"""Authentication: the headers of a request -> the caller or an error."""

import datetime
import re
from itertools import starmap
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.config import Models, Organisation, Settings, Token
from extproc.config.features import BITS, NAMES
from extproc.config.items import organisation_item, read_organisation, read_token, token_item
from extproc.config.kinds import Scope
from extproc.openai.errors import ApiError
from extproc.tenancy.api_keys import digest
from extproc.tenancy.directory import MAX_USED, Caller, Directory
from extproc.tenancy.policy import Narrowed
from extproc.tenancy.store import LookedUp, Lookup, needed
from extproc.tenancy.table_store import TableStore

NOW = 1_800_000_000.0
CLAUDE = Models(allow=("anthropic.*",))
SCOPES = frozenset(get_args(get_args(Scope)[0]))


def token(name: str, *organisations: str, expires: float | None = None) -> Token:
    at = None if expires is None else datetime.datetime.fromtimestamp(expires, datetime.UTC)
    return Token(name=name, sha256=digest(secret(name)), organisations=organisations, expires=at)


def secret(name: str) -> str:
    return f"qc_{name}-0123456789012345678901234567890"


SETTINGS = Settings(
    organisations={
        "acme": Organisation(models=CLAUDE),
        "beta": Organisation(),
        "closed": Organisation(enabled=False),
    },
    tokens=(
        token("one", "acme"),
        token("two", "acme", "beta", "closed"),
        token("none"),
        token("shut", "closed"),
        token("old", "acme", expires=NOW),
        token("fresh", "acme", expires=NOW + 1),
        msgspec.structs.replace(token("narrow", "acme", "beta"), models=Models(deny=("*haiku*",)), scopes=("chat",)),
        msgspec.structs.replace(token("shutout", "acme"), scopes=()),
    ),
)
"""What both stores have. The table has one token more, of an organisation that no one has written."""
LOST = token("lost", "nowhere")


class TableDirectory:
    """A directory of a table, whose items are looked up as a worker does it. Nothing is cached before."""

    def __init__(self, settings: Settings) -> None:
        items = {item["pk"]: item["json"] for item in map(token_item, (*settings.tokens, LOST))}
        items |= {item["pk"]: item["json"] for item in starmap(organisation_item, settings.organisations.items())}
        self.items = items
        self.store = TableStore(lambda key: None)
        self.directory = Directory(Settings(), self.store)

    def authenticate(self, authorization: str | None, organisation: str | None, now: float) -> Caller:
        """Return the caller, by a lookup and then from the cache, which must agree."""
        first = self.directory.authenticate(authorization, organisation, now)
        if not isinstance(first, Lookup):
            return first
        looked_up = self.look_up(first, now)
        try:
            second = self.directory.authenticate(authorization, organisation, now, looked_up)
        except ApiError as error:
            with pytest.raises(ApiError, match=re.escape(error.message)):
                self.directory.authenticate(authorization, organisation, now)
            raise
        assert self.directory.authenticate(authorization, organisation, now) == second
        assert isinstance(second, Caller)
        return second

    def look_up(self, lookup: Lookup, now: float) -> LookedUp:
        """Return what the table has, and keep it in the cache."""
        key = f"token#{lookup.sha256}"
        found = read_token(key, self.items[key]) if key in self.items else None
        self.store.put(key, found, 100, now)
        name = needed(found, lookup.organisation) if found else ""
        if not name:
            return LookedUp(found)
        text = self.items.get(f"org#{name}")
        settings = read_organisation(f"org#{name}", text) if text else None
        self.store.put(f"org#{name}", settings, 100, now)
        return LookedUp(found, name, settings)


DIRECTORIES = {"file": Directory(SETTINGS), "table": TableDirectory(SETTINGS)}
DIRECTORY: "Directory | TableDirectory"


@pytest.fixture(params=DIRECTORIES, autouse=True, scope="module")
def store(request: pytest.FixtureRequest) -> str:
    """Run every test with either store."""
    global DIRECTORY
    DIRECTORY = DIRECTORIES[request.param]
    return str(request.param)


def call(name: str, organisation: str | None = None) -> Caller:
    return DIRECTORY.authenticate(f"Bearer {secret(name)}", organisation, NOW)


def caller(name: str, organisation: str) -> Caller:
    settings = SETTINGS.organisations[organisation]
    return Caller(name, organisation, settings.models, own=settings)


def rejection(authorization: str | None, organisation: str | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        DIRECTORY.authenticate(authorization, organisation, NOW)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param is None
    return caught.value


@pytest.mark.parametrize("header", [None, "", "  ", "acme", " acme\t"])
def test_a_token_of_one_organisation(header: str | None) -> None:
    assert call("one", header) == caller("one", "acme")


def test_an_organisations_own_aliases_have_priority() -> None:
    own = {"gpt-4o": "amazon.nova-pro-v1:0", "mine": "amazon.nova-lite-v1:0"}
    common = {"gpt-4o": "anthropic.claude-sonnet-4-6", "small": "amazon.nova-micro-v1:0"}
    organisations = {"acme": Organisation(aliases=own), "beta": Organisation()}
    directory = Directory(Settings(organisations=organisations, tokens=(token("two", *organisations),), aliases=common))
    for organisation, aliases in (("acme", common | own), ("beta", common)):
        assert directory.authenticate(f"Bearer {secret('two')}", organisation, NOW).aliases == aliases


def test_the_header_chooses_among_several() -> None:
    assert call("two", "beta") == caller("two", "beta")
    assert call("two", "acme").models == CLAUDE


def test_a_tokens_models_narrow_those_of_the_organisation_that_it_calls_for() -> None:
    assert call("narrow", "acme").models == Narrowed(CLAUDE, Models(deny=("*haiku*",)))
    assert call("narrow", "beta").models == Narrowed(Models(), Models(deny=("*haiku*",)))


def test_a_token_without_scopes_may_make_every_call() -> None:
    for scope in SCOPES:
        call("one").require(scope)


@settings(deadline=None)
@given(*[st.none() | st.lists(st.sampled_from(NAMES)).map(tuple)] * 2)
def test_a_feature_has_to_be_permitted_by_the_organisation_and_by_the_token(
    own: tuple[Any, ...] | None, tokens: tuple[Any, ...] | None
) -> None:
    only = Token(name="a", sha256=digest("qc_a"), organisations=("acme",), features=tokens)
    directory = Directory(Settings(organisations={"acme": Organisation(features=own)}, tokens=(only,)))
    caller = directory.authenticate("Bearer qc_a", None, NOW)
    assert isinstance(caller, Caller)
    permitted = {name for name in NAMES if not caller.denied & BITS[name]}
    assert permitted == {*NAMES} & {*(NAMES if own is None else own)} & {*(NAMES if tokens is None else tokens)}
    assert (caller.denied == 0) == (permitted == {*NAMES})


@pytest.mark.parametrize(("name", "has"), [("narrow", "chat"), ("shutout", "none")])
def test_a_missing_scope_is_a_403_that_names_it(name: str, has: str) -> None:
    caller = call(name, "acme")
    for scope in SCOPES - {has}:
        with pytest.raises(ApiError, match=rf"Missing scopes: {scope}\. It has: {has}\.") as caught:
            caller.require(scope)
        assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")
    if has in SCOPES:
        caller.require(has)


def test_a_token_lives_until_it_expires() -> None:
    assert call("fresh").token == "fresh"
    with pytest.raises(ApiError, match=r"`old` expired at 2027-01-15T08:00:00\+00:00"):
        call("old")


@pytest.mark.parametrize("year", [1, 9999])
def test_an_expiry_at_the_end_of_time(year: int) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=14 if year == 1 else -14))
    at = datetime.datetime(year, 1 if year == 1 else 12, 1 if year == 1 else 31, 23, tzinfo=zone)
    only = Token(name="a", sha256=digest("qc_a"), organisations=("acme",), expires=at)
    directory = Directory(Settings(organisations={"acme": Organisation()}, tokens=(only,)))
    if year == 9999:
        assert directory.authenticate("Bearer qc_a", None, NOW).token == "a"
    else:
        with pytest.raises(ApiError, match="expired"):
            directory.authenticate("Bearer qc_a", None, NOW)


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        (None, "No API key was given"),
        ("", "No API key was given"),
        (" \t", "No API key was given"),
        ("Basic dXNlcjpwYXNz", "not an API key of this gateway"),
        ("Bearer sk-proj-1234", "not an API key of this gateway"),
        (secret("one"), "not an API key of this gateway"),
        (f"Bearer {secret('stranger')}", "Incorrect API key provided: qc_…7890."),
        ("Bearer qc_short", "Incorrect API key provided: qc_…."),
        (f"Bearer {secret('old')}", "expired"),
    ],
)
def test_a_401_has_its_own_code_and_never_the_token(authorization: str | None, words: str) -> None:
    error = rejection(authorization)
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert error.headers == {"www-authenticate": "Bearer"}
    assert words in error.message
    sent_token = (authorization or "").split(" ")[-1]
    assert not sent_token.strip() or sent_token not in error.message


def test_401_comes_before_403() -> None:
    assert rejection(f"Bearer {secret('old')}", "beta").status == 401


@pytest.mark.parametrize(
    ("name", "header", "words"),
    [
        ("none", None, "belongs to no organisation"),
        ("none", "acme", "belongs to no organisation"),
        ("one", "beta", "it is for: acme."),
        ("one", "nonexistent", "it is for: acme."),
        ("one", "ACME", "it is for: acme."),
        ("two", "gamma", "it is for: acme, beta, closed."),
        ("two", "acme, beta", "it is for: acme, beta, closed."),
        ("two", "closed", "`closed` is disabled"),
        ("shut", None, "`closed` is disabled"),
    ],
)
def test_403(name: str, header: str | None, words: str) -> None:
    error = rejection(f"Bearer {secret(name)}", header)
    assert (error.status, error.code) == (403, "organisation_not_allowed")
    assert words in error.message


def test_the_use_of_an_accepted_token_is_noted_and_of_no_other() -> None:
    used: dict[str, float] = {}
    noting = Directory(SETTINGS, used=used)
    for name, header in (("old", None), ("shut", None), ("none", None), ("two", None), ("one", "beta"), ("lost", None)):
        with pytest.raises(ApiError):
            noting.authenticate(f"Bearer {secret(name)}", header, NOW)
    assert used == {}
    for later in (0.0, 7.5):
        noting.authenticate(f"Bearer {secret('one')}", None, NOW + later)
    assert used == {digest(secret("one")): NOW + 7.5}


def test_the_use_of_a_token_that_was_looked_up_is_noted_once_it_is_accepted() -> None:
    used: dict[str, float] = {}
    items = TableDirectory(SETTINGS)
    noting = Directory(Settings(), items.store, used)
    lookup = noting.authenticate(f"Bearer {secret('one')}", None, 5.0)
    assert isinstance(lookup, Lookup)
    assert used == {}
    noting.authenticate(f"Bearer {secret('one')}", None, 5.0, items.look_up(lookup, 5.0))
    assert used == {digest(secret("one")): 5.0}


def test_the_uses_in_memory_are_bounded() -> None:
    used = {str(number): 0.0 for number in range(MAX_USED)}
    caller = Directory(SETTINGS, used=used).authenticate(f"Bearer {secret('one')}", None, NOW)
    assert isinstance(caller, Caller)
    assert len(used) == MAX_USED


@pytest.mark.parametrize(
    ("name", "header", "known"),
    [
        ("one", None, ("acme", "one")),
        ("two", "beta", ("beta", "two")),
        ("two", None, None),
        ("one", "beta", None),
        ("shut", None, None),
        ("none", None, None),
        ("old", None, None),
        ("stranger", None, None),
    ],
)
def test_whom_the_directory_knows_and_nobody_else(
    name: str, header: str | None, known: tuple[str, str] | None, store: str
) -> None:
    if store == "file":
        used: dict[str, float] = {}
        assert Directory(SETTINGS, used=used).known(f"Bearer {secret(name)}", header, NOW, None) == known
        assert used == {}
        return
    table = TableDirectory(SETTINGS)
    assert table.directory.known(f"Bearer {secret(name)}", header, NOW, None) is None, "it was not looked up"
    if known:
        table.authenticate(f"Bearer {secret(name)}", header, NOW)
    assert table.directory.known(f"Bearer {secret(name)}", header, NOW, None) == known


def test_an_organisation_of_another_token_is_rejected_like_an_unknown_one() -> None:
    messages = {rejection(f"Bearer {secret('one')}", header).message for header in ("beta", "nonexistent")}
    assert len(messages) == 1


@pytest.mark.parametrize("header", [None, "", " "])
def test_several_organisations_and_none_named_is_400_naming_the_header(header: str | None) -> None:
    error = rejection(f"Bearer {secret('two')}", header)
    assert (error.status, error.code) == (400, "organisation_required")
    assert "`OpenAI-Organization`" in error.message
    assert "acme, beta, closed" in error.message


def test_a_token_of_an_organisation_that_the_table_has_not_is_rejected() -> None:
    with pytest.raises(ApiError, match="`nowhere` is disabled") as caught:
        DIRECTORIES["table"].authenticate(f"Bearer {secret('lost')}", None, NOW)
    assert caught.value.status == 403


headers = (
    st.none() | st.text() | st.sampled_from(["one", "two", "none", "shut", "old"]).map(lambda n: f"Bearer {secret(n)}")
)


@given(headers, st.none() | st.text() | st.sampled_from(["acme", "beta", "closed"]), st.floats(0, 4e9))
def test_any_headers_yield_a_caller_or_an_error(
    authorization: str | None, organisation: str | None, now: float
) -> None:
    try:
        authenticated = DIRECTORY.authenticate(authorization, organisation, now)
    except ApiError as error:
        status = error.status
    else:
        status = 200
        requested = (organisation or "").strip(" \t")
        assert authenticated.organisation in (["acme", "beta"] if not requested else [requested])
    assert status in (200, 400, 401, 403)
