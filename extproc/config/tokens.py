"""The keys of gateway.yaml, of token files and of items of a table about one token."""

from collections.abc import Mapping

import msgspec

from extproc.config.budgets import Budgets, check_below, check_budgets
from extproc.config.document import ConfigError, naming
from extproc.config.faults import nearest
from extproc.config.features import Feature
from extproc.config.kinds import Expiry, MachineName, Scope, Sha256, TokenName
from extproc.config.organisations import Models, Organisation, check_patterns
from extproc.config.rate_limits import RateLimits, RateLimitSettings, check_own, check_rate_limits


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key. Only the SHA-256 of the whole token (`qc_` included) is stored."""

    name: TokenName
    sha256: Sha256
    """In lower case, whatever the file has."""
    organisations: tuple[MachineName, ...] = ()
    expires: Expiry | None = None
    models: Models | None = None
    """Narrows the organisation's: a model has to be permitted by both."""
    scopes: tuple[Scope, ...] | None = None
    """The groups of endpoints that it may call; None is all of them."""
    features: tuple[Feature, ...] | None = None
    """Narrows the organisation's: a feature has to be permitted by both."""
    limits: RateLimits | None = None
    """Its limits, before those of `rate_limits.token`, and beside its organisation's."""
    budgets: Budgets | None = None
    """What it may spend, in place of `budgets.token`, and beside its organisation's."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "sha256", self.sha256.lower())


def check_tokens(
    files: Mapping[str, tuple[Token, ...]],
    organisations: Mapping[str, Organisation],
    usual: Budgets,
    rates: RateLimitSettings,
) -> None:
    """Check that organisations are declared, and that nothing is repeated in any file; raises `ConfigError`.

    `usual` are the budgets of organisations without their own.
    """
    names: _Seen = {}
    hashes: _Seen = {}
    budgets = {name: usual if own.budgets is None else own.budgets for name, own in organisations.items()}
    limits = {name: own.limits for name, own in organisations.items() if own.limits is not None}
    for source, tokens in files.items():
        with naming(source):
            for index, token in enumerate(tokens):
                check_organisations(token, organisations, index)
                if token.models is not None:
                    check_patterns(token.models, f"tokens[{index}]")
                check_own(rates, token.limits, f"tokens[{index}].limits")
                check_rate_limits(token.limits, f"tokens[{index}]", token.organisations, limits)
                if token.budgets is not None:
                    check_budgets(token.budgets, f"tokens[{index}].budgets")
                    check_below(token.budgets, f"tokens[{index}]", token.organisations, budgets)
                _check_unique("name", names, token.name, source, index)
                _check_unique("sha256", hashes, token.sha256, source, index)


_Seen = dict[str, tuple[str, int]]
"""A name or a hash -> the file that has it first, and the position of its token there."""

_UNIQUE = {
    "name": "give each token a name of its own, by which logs tell them apart",
    "sha256": "list the organisations of one token in one entry",
}
"""The keys of which no two tokens have the same value -> what to do."""


def _check_unique(key: str, seen: _Seen, value: str, source: str, index: int) -> None:
    """Raise if another token has the same `value`; otherwise add it to `seen`."""
    file, position = seen.setdefault(value, (source, index))
    if (file, position) != (source, index):
        other = f"tokens[{position}]" if file == source else f"{file}: tokens[{position}]"
        raise ConfigError(f"tokens[{index}].{key}: the same as in {other}; {_UNIQUE[key]}")


def check_organisations(token: Token, organisations: Mapping[str, Organisation], index: int) -> None:
    """Check that every organisation of `token` is declared, and named once."""
    named: set[str] = set()
    for position, name in enumerate(token.organisations):
        if name not in organisations:
            raise ConfigError(
                f"tokens[{index}].organisations[{position}]: no organisation `{name}` is declared under `organisations`"
                f"{nearest(name, organisations)}"
            )
        if name in named:
            raise ConfigError(f"tokens[{index}].organisations[{position}]: `{name}` is repeated; keep one")
        named.add(name)
