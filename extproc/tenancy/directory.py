"""Authentication: a token and an organisation header -> the caller, or an error response.

Invariant: `authenticate` returns a `Caller` whose token is configured, has not expired, and names an organisation that
exists and is enabled; or it raises `ApiError` with 401 (unknown token), 403 (not for this organisation) or 400 (no
organisation named). An error response reveals nothing about other callers' tokens or organisations. It returns a
`Lookup`, and decides nothing, where its store has to ask elsewhere first.

Decisions: docs/decisions.md, D191, D196, D205, D212, D257.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NoReturn

from extproc import config
from extproc.config.aliases import effective_aliases
from extproc.config.features import denied
from extproc.config.jwt import NAME_PREFIX
from extproc.limits.counters import Scope
from extproc.limits.spending import OwnedBudget
from extproc.openai.errors import ApiError
from extproc.tenancy.api_keys import digest, masked, parse_bearer
from extproc.tenancy.budgets import budgets_of
from extproc.tenancy.jwt_tokens import CHALLENGE, JwtResult, JwtTokens, is_jwt, reject
from extproc.tenancy.policy import ModelRules, Narrowed
from extproc.tenancy.rate_limits import any_default, scopes_of
from extproc.tenancy.store import FileStore, LookedUp, Lookup, NotCached, Store
from extproc.value import Value

HEADER = "OpenAI-Organization"


_USUAL = config.Organisation()

_MAX_LISTED: Final = 100
"""Most organisations that a message lists."""

_MAX_MERGED: Final = 256
"""Most organisations whose aliases are kept merged with those of all: each may have hundreds."""


MAX_SCOPES: Final = 4096
"""Most pairs of a token and an organisation whose scopes are kept: some 3 MB."""


MAX_USED: Final = 50_000
"""Most tokens whose last use is in memory, until it is written: some 9 MB. Further ones leave no trace."""


class Caller(Value, frozen=True):
    """An authenticated request: its token's name, its organisation's machine name, and the models that it may call.

    `scopes` are the groups of endpoints that its token may call, None for all of them. `denied` are the bits of the
    features that its requests may not use; `limits` are the scopes whose rates they count in, and `budgets` what may be
    spent. `project` is the organisation's project of Bedrock, None for the account's default. `aliases` are its names
    for models, and the ids that they stand for; `own` are its settings, as they were when the request came.
    """

    token: str
    organisation: str
    models: ModelRules
    project: str | None = None
    aliases: Mapping[str, str] | None = None
    own: config.Organisation = _USUAL
    scopes: tuple[str, ...] | None = None
    denied: int = 0
    limits: tuple[Scope, ...] | None = None
    budgets: tuple[OwnedBudget, ...] | None = None

    def require(self, scope: str) -> None:
        """Raise a 403 if the token has scopes, and this is none of them."""
        if self.scopes is None or scope in self.scopes:
            return
        raise ApiError(
            403,
            f"The {_noun(self.token)} `{self.token}` may not make this call. Missing scopes: {scope}. It has: "
            f"{', '.join(self.scopes) or 'none'}. Ask the operator of this gateway for a key with `{scope}`.",
            code="insufficient_scope",
        )

    def require_named(self, scope: str) -> None:
        """Raise a 403 if the token's scopes do not name this one, also if it has no scopes, as most tokens have none.

        The code is OpenAI's for its administration.
        """
        if self.scopes is not None and scope in self.scopes:
            return
        names = "no `scopes`" if self.scopes is None else f"the scopes: {', '.join(self.scopes) or 'none'}"
        raise ApiError(
            403,
            f"You have insufficient permissions for this operation. Missing scopes: {scope}. The {_noun(self.token)} "
            f"`{self.token}` has {names}. Ask the operator of this gateway for a key whose `scopes` name `{scope}`.",
            code="insufficient_permissions",
        )


class KnownTokenError(ApiError):
    """An error response to a token of this gateway: expired, or not for the organisation.

    `token` is its name, and `organisation` its organisation if it has one only: for the record of the call. A signed
    token's is left out: its claim may name one that is not here, and each name would be a series of metrics.
    """

    def __init__(self, status: int, message: str, code: str, token: config.Token) -> None:
        super().__init__(status, message, code=code, headers=CHALLENGE if status == 401 else {})
        self.token = token.name
        self.organisation = token.organisations[0] if token.sha256 and len(token.organisations) == 1 else ""


class _KnownScopes(Value, frozen=True):
    """The scopes of a token's requests for an organisation, with the settings that they are of."""

    token: config.Token
    organisation: config.Organisation
    scopes: tuple[Scope, ...] | None


class Directory:
    """The tokens and organisations of one gateway.yaml, or of a `store` that it names.

    A changed file makes a new directory.
    """

    def __init__(
        self, settings: config.Settings, store: Store | None = None, used: dict[str, float] | None = None
    ) -> None:
        """`used` takes the hash of each token that is accepted, and when that was, in Unix seconds."""
        self._store: Store = store or FileStore(settings)
        self._used = used
        self._jwt = JwtTokens(settings.jwt) if settings.jwt else None
        self._common = settings.aliases
        self._rate_limits = settings.rate_limits
        self._limited = any_default(settings.rate_limits)
        self._budgets = settings.budgets
        self._budgeted = settings.budgets.any
        self._merged: dict[str, tuple[config.Organisation, Mapping[str, str]]] = {}
        """The aliases of organisations that have some of their own, with the settings that they are of."""
        self._scopes: dict[tuple[str, str], _KnownScopes] = {}
        """The scopes of a token, by its hash, for an organisation."""
        keys = tuple([key.encode() for key in settings.responses.keys])
        self.response_keys = keys or (() if store else (_derived(settings.tokens),))
        """The keys that authenticate what clients keep for this gateway; the first is for new things."""
        self.offered = _offered(settings) if store is None else _offered_somewhere(settings)
        """The keys of `endpoints` that are true for an organisation, or may be."""

    def authenticate(
        self,
        authorization: str | None,
        organisation: str | None,
        now: float,
        looked_up: LookedUp | None = None,
        jwt: JwtResult | None = None,
    ) -> Caller | Lookup:
        """Return the caller of the headers `Authorization` and `OpenAI-Organization`; raises `ApiError`.

        An empty header counts as none. `now` is in Unix seconds. A `Lookup` is to be made first, and authentication to
        be repeated with its result, `looked_up`. `jwt` is Envoy's result for a signed token.
        """
        store: Store = self._store if looked_up is None else looked_up
        header = (organisation or "").strip(" \t")
        token = self._token(authorization, jwt, header, store, now)
        if isinstance(token, Lookup):
            return token
        name = _choose(token, header)
        settings = store.organisation(name, now)
        if isinstance(settings, NotCached):
            return Lookup(token.sha256, header if token.sha256 else name)
        if settings is None or not settings.enabled:
            _forbid(_closed(name, settings, token), token)
        used = self._used
        if used is not None and len(used) < MAX_USED and token.sha256:
            used[token.sha256] = now
        models: ModelRules = settings.models if token.models is None else Narrowed(settings.models, token.models)
        aliases = (self._aliases(name, settings) if settings.aliases else self._common) or None
        bits = 0 if settings.features is None and token.features is None else denied(settings.features, token.features)
        limits: tuple[Scope, ...] | None = None
        if self._limited or settings.limits is not None or token.limits is not None:
            limits = self._scopes_of(token, name, settings)
        budgets: tuple[OwnedBudget, ...] | None = None
        if self._budgeted or settings.budgets or settings.user_budgets or token.budgets:
            budgets = budgets_of(self._budgets, token, name, settings) or None
        return Caller(
            token.name, name, models, settings.project, aliases, settings, token.scopes, bits, limits, budgets
        )

    def known(
        self, authorization: str | None, organisation: str | None, now: float, jwt: JwtResult | None
    ) -> tuple[str, str] | None:
        """Return the organisation and the token's name of these headers, without a trace of their use.

        None for those that `authenticate` would reject, and for those that it would have looked up first.
        """
        header = (organisation or "").strip(" \t")
        try:
            token = self._token(authorization, jwt, header, self._store, now)
            if isinstance(token, Lookup):
                return None
            name = _choose(token, header)
        except ApiError:
            return None
        settings = self._store.organisation(name, now)
        if isinstance(settings, config.Organisation) and settings.enabled:
            return name, token.name
        return None

    def _token(
        self, authorization: str | None, jwt: JwtResult | None, header: str, store: Store, now: float
    ) -> config.Token | Lookup:
        """Return the token that the signed token or the API key in `authorization` stands for; raises 401."""
        if self._jwt is not None and authorization is not None and is_jwt(authorization):
            return self._jwt.token(authorization, jwt, now)
        secret = _secret(authorization, self._jwt is not None)
        sha256 = digest(secret)
        token = store.token(sha256, now)
        if token is None:
            reject(f"Incorrect API key provided: {masked(secret)}. It was never issued here, or has been revoked.")
        if isinstance(token, NotCached):
            return Lookup(sha256, header)
        _check_expiry(token, now)
        return token

    def _scopes_of(self, token: config.Token, name: str, organisation: config.Organisation) -> tuple[Scope, ...] | None:
        """Return the scopes of a token's request for the organisation `name`; None for none."""
        key = (token.sha256, name)
        known = self._scopes.get(key)
        if known is not None and known.token is token and known.organisation is organisation:
            return known.scopes
        scopes = scopes_of(self._rate_limits, token, name, organisation) or None
        if token.sha256:
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            self._scopes[key] = _KnownScopes(token, organisation, scopes)
        return scopes

    def _aliases(self, name: str, organisation: config.Organisation) -> Mapping[str, str]:
        """Return the aliases of an organisation that has some of its own."""
        known = self._merged.get(name)
        if known is not None and known[0] is organisation:
            return known[1]
        if len(self._merged) >= _MAX_MERGED:
            self._merged.clear()
        aliases = effective_aliases(self._common, organisation.aliases)
        self._merged[name] = (organisation, aliases)
        return aliases


def _offered(settings: config.Settings) -> set[str]:
    """Return the optional endpoints that any organisation of the file has."""
    organisations = settings.organisations.values()
    switches = config.EndpointSettings.__struct_fields__
    return {switch for switch in switches if any(settings.offers(switch, each) for each in organisations)}


def _offered_somewhere(settings: config.Settings) -> set[str]:
    """Return the optional endpoints that an organisation of a table may have: they need keys of the operator's."""
    return set(config.EndpointSettings.__struct_fields__) if settings.responses.keys else set()


def _secret(authorization: str | None, jwt: bool) -> str:
    """Return the token in the header; raises 401, which names signed tokens where `jwt` says that they are accepted."""
    if not (authorization or "").strip(" \t"):
        reject(f"No API key was given: send one as `Authorization: Bearer qc_…`{_OR_SIGNED if jwt else ''}.")
    secret = parse_bearer(authorization or "")
    if secret is None:
        reject(
            f"This is not an API key of this gateway: send `Authorization: Bearer qc_…`{_OR_SIGNED if jwt else ''}. "
            "Keys of OpenAI and AWS are not accepted here."
        )
    return secret


_OR_SIGNED = ", or a signed token (JWT) of your identity provider as `Authorization: Bearer ey…`, in this spelling"


def _noun(token: str) -> str:
    """Return what a message calls the token of this name."""
    return "signed token" if token.startswith(NAME_PREFIX) else "API key"


def _check_expiry(token: config.Token, now: float) -> None:
    """Raise 401 for a token that has expired."""
    if token.expires is not None and token.expires.timestamp() <= now:
        message = f"The API key `{token.name}` expired at {token.expires.isoformat()}; ask for a new one."
        raise KnownTokenError(401, message, "invalid_api_key", token)


def _derived(tokens: Sequence[config.Token]) -> bytes:
    """Return a key that all workers and replicas with the same tokens derive; a change of tokens makes another."""
    return sha256(b"responses.keys\n" + "\n".join(sorted([token.sha256 for token in tokens])).encode()).digest()


def _choose(token: config.Token, header: str) -> str:
    """Return the organisation that the header names, or the token's only one; raises 403 or 400."""
    if not header and len(token.organisations) == 1:
        return token.organisations[0]
    if header not in token.organisations:
        _reject_choice(token, header)
    return header


def _reject_choice(token: config.Token, header: str) -> NoReturn:
    """Raise the error for a header that names none of the token's organisations, or for its absence."""
    organisations, noun = token.organisations, "API key" if token.sha256 else "signed token"
    if not organisations:
        advice = "assign one" if token.sha256 else "name one in its claim"
        _forbid(f"This {noun} belongs to no organisation; ask the operator of this gateway to {advice}.", token)
    known = ", ".join(organisations[:_MAX_LISTED]) + (", …" if len(organisations) > _MAX_LISTED else "")
    if not header:
        message = f"This {noun} belongs to several organisations ({known}): name one in the `{HEADER}` header."
        raise KnownTokenError(400, message, "organisation_required", token)
    _forbid(f"This {noun} is not for the organisation in the `{HEADER}` header; it is for: {known}.", token)


def _closed(name: str, settings: config.Organisation | None, token: config.Token) -> str:
    """Return the message for an organisation that is disabled, or that does not exist."""
    if settings is None and not token.sha256:
        return (
            f"This gateway has no organisation `{name}`, which your signed token names; ask its operator to define "
            "it, or your identity provider for a token with another."
        )
    return f"The organisation `{name}` is disabled; ask the operator of this gateway."


def _forbid(message: str, token: config.Token) -> NoReturn:
    """Raise a 403: the token is valid, but not for this organisation."""
    raise KnownTokenError(403, message, "organisation_not_allowed", token)
