"""Authentication: a token and an organisation header -> the caller, or an error response.

Invariant: `authenticate` returns a `Caller` whose token is configured, has not expired, and names an organisation that
exists and is enabled; or it raises `ApiError` with 401 (unknown token), 403 (not for this organisation) or 400 (no
organisation named). An error response reveals nothing about other callers' tokens or organisations.

Decision: docs/decisions.md, D191.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NoReturn

from extproc import config
from extproc.config.aliases import effective_aliases
from extproc.openai.errors import ApiError
from extproc.tenancy.api_keys import digest, masked, parse_bearer
from extproc.tenancy.policy import ModelRules, Narrowed
from extproc.value import Value

HEADER = "OpenAI-Organization"


class Caller(Value, frozen=True):
    """An authenticated request: its token's name, its organisation's machine name, and the models that it may call.

    `scopes` are the groups of endpoints that its token may call, None for all of them. `project` is the organisation's
    project of Bedrock, None for the account's default. `aliases` are its names for models, and the ids that they stand
    for; `own` are its settings, as they were when the request came.
    """

    token: str
    organisation: str
    models: ModelRules
    project: str | None = None
    aliases: Mapping[str, str] | None = None
    own: config.Organisation | None = None
    scopes: tuple[str, ...] | None = None

    def require(self, scope: str) -> None:
        """Raise a 403 if the token has scopes, and this is none of them."""
        if self.scopes is None or scope in self.scopes:
            return
        raise ApiError(
            403,
            f"The API key `{self.token}` may not make this call. Missing scopes: {scope}. It has: "
            f"{', '.join(self.scopes) or 'none'}. Ask the operator of this gateway for a key with `{scope}`.",
            code="insufficient_scope",
        )


class KnownTokenError(ApiError):
    """An error response to a token of this gateway: expired, or not for the organisation.

    `token` is its name, and `organisation` its organisation if it has one only: for the record of the call.
    """

    def __init__(self, status: int, message: str, code: str, token: config.Token) -> None:
        super().__init__(status, message, code=code, headers=_CHALLENGE if status == 401 else {})
        self.token = token.name
        self.organisation = token.organisations[0] if len(token.organisations) == 1 else ""


_CHALLENGE = {"www-authenticate": "Bearer"}
"""RFC 9110 section 15.5.2 requires the scheme in a 401."""


class Directory:
    """The tokens and organisations of one gateway.yaml. Immutable: a changed file makes a new directory."""

    def __init__(self, settings: config.Settings) -> None:
        self._organisations = settings.organisations
        self._common = settings.aliases
        self._own = {
            name: effective_aliases(settings.aliases, organisation.aliases)
            for name, organisation in settings.organisations.items()
            if organisation.aliases
        }
        """The aliases of organisations that have some of their own."""
        self._tokens = {token.sha256: token for token in settings.tokens}
        self.response_keys = tuple([key.encode() for key in settings.responses.keys]) or (_derived(settings.tokens),)
        """The keys that authenticate what clients keep for this gateway; the first is for new things."""
        switches = config.EndpointSettings.__struct_fields__
        self.offered = {
            switch for switch in switches if any(settings.offers(switch, name) for name in settings.organisations)
        }
        """The keys of `endpoints` that are true for an organisation."""

    def authenticate(self, authorization: str | None, organisation: str | None, now: float) -> Caller:
        """Return the caller of the headers `Authorization` and `OpenAI-Organization`; raises `ApiError`.

        An empty header counts as none. `now` is in Unix seconds.
        """
        token = self._token(authorization, now)
        name = _choose(token, (organisation or "").strip(" \t"))
        settings = self._organisations.get(name)
        if settings is None or not settings.enabled:
            _forbid(f"The organisation `{name}` is disabled; ask the operator of this gateway.", token)
        models: ModelRules = settings.models if token.models is None else Narrowed(settings.models, token.models)
        aliases = self._own.get(name, self._common) or None
        return Caller(token.name, name, models, settings.project, aliases, settings, token.scopes)

    def _token(self, authorization: str | None, now: float) -> config.Token:
        """Return the request's token; raises 401."""
        if not (authorization or "").strip(" \t"):
            _reject("No API key was given: send one as `Authorization: Bearer qc_…`.")
        secret = parse_bearer(authorization or "")
        if secret is None:
            _reject(
                "This is not an API key of this gateway: send `Authorization: Bearer qc_…`. Keys of OpenAI and AWS "
                "are not accepted here."
            )
        token = self._tokens.get(digest(secret))
        if token is None:
            _reject(f"Incorrect API key provided: {masked(secret)}. It was never issued here, or has been revoked.")
        if token.expires is not None and token.expires.timestamp() <= now:
            message = f"The API key `{token.name}` expired at {token.expires.isoformat()}; ask for a new one."
            raise KnownTokenError(401, message, "invalid_api_key", token)
        return token


def _derived(tokens: Sequence[config.Token]) -> bytes:
    """Return a key that all workers and replicas with the same tokens derive; a change of tokens makes another."""
    return sha256(b"responses.keys\n" + "\n".join(sorted([token.sha256 for token in tokens])).encode()).digest()


def _choose(token: config.Token, header: str) -> str:
    """Return the organisation that the header names, or the token's only one; raises 403 or 400."""
    organisations = token.organisations
    if not organisations:
        _forbid("This API key belongs to no organisation; ask the operator of this gateway to assign one.", token)
    known = ", ".join(organisations)
    if not header:
        if len(organisations) == 1:
            return organisations[0]
        message = f"This API key belongs to several organisations ({known}): name one in the `{HEADER}` header."
        raise KnownTokenError(400, message, "organisation_required", token)
    if header not in organisations:
        _forbid(f"This API key is not for the organisation in the `{HEADER}` header; it is for: {known}.", token)
    return header


def _reject(message: str) -> NoReturn:
    """Raise a 401."""
    raise ApiError(401, message, code="invalid_api_key", headers=_CHALLENGE)


def _forbid(message: str, token: config.Token) -> NoReturn:
    """Raise a 403: the token is valid, but not for this organisation."""
    raise KnownTokenError(403, message, "organisation_not_allowed", token)
