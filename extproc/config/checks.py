"""The checks of settings that their types cannot express: of one key, and of keys that depend on each other."""

from collections.abc import Sequence
from ipaddress import ip_network

from extproc.config.aliases import check_aliases
from extproc.config.budgets import Budgets, any_budgets, check_defaults, check_store
from extproc.config.capabilities import check_capabilities
from extproc.config.document import ConfigError
from extproc.config.jwt import check_jwt
from extproc.config.organisations import check_organisation
from extproc.config.rate_limits import check_own, check_service
from extproc.config.redis import check_needed, check_redis
from extproc.config.regions import check_regions
from extproc.config.response_keys import check_keys
from extproc.config.settings import Settings
from extproc.config.tokens import Token
from extproc.config.usage import check_usage


def check_settings(settings: Settings) -> None:
    """Check all but the tokens; raises `ConfigError`."""
    check_capabilities(settings.capabilities)
    _check_networks(settings.media.deny)
    _check_origins(settings.cors.origins)
    check_service(settings.rate_limits)
    for name, organisation in settings.organisations.items():
        check_organisation(name, organisation)
        check_own(settings.rate_limits, organisation.limits, f"organisations.{name}.limits")
    _check_metadata(settings)
    check_defaults(settings.budgets)
    check_redis(settings.redis, settings.rate_limits, settings.budgets)
    check_aliases(settings.aliases, {name: own.aliases for name, own in settings.organisations.items()})
    _check_directory(settings)
    check_usage(settings.usage)
    regions = {name: own.region for name, own in settings.organisations.items()}
    check_regions(regions, settings.region, settings.regions)


def check_all_tokens(settings: Settings, tokens: tuple[Token, ...], keys: Sequence[str]) -> None:
    """Check what depends on the tokens and keys of all files; raises `ConfigError`."""
    check_jwt(settings.jwt, (token.name for token in tokens))
    check_keys(settings, keys, tokens)
    check_kept(settings, tokens)
    _check_redis_needed(settings, tokens)


def check_kept(settings: Settings, tokens: tuple[Token, ...]) -> None:
    """Check that budgets, if there are any, are kept somewhere; raises `ConfigError`."""
    check_store(settings.budgets, settings.redis is not None, *_budgets_of(settings, tokens))


def _check_redis_needed(settings: Settings, tokens: tuple[Token, ...]) -> None:
    """Check that a Redis has something to keep; raises `ConfigError`."""
    others = settings.directory is not None or any_budgets(settings.budgets, *_budgets_of(settings, tokens))
    check_needed(settings.redis, settings.rate_limits, others)


def _budgets_of(
    settings: Settings, tokens: tuple[Token, ...]
) -> tuple[dict[str, tuple[Budgets | None, Budgets | None]], list[Budgets | None]]:
    """Return the budgets of organisations and their users, by name, and those of tokens."""
    organisations = {name: (own.budgets, own.user_budgets) for name, own in settings.organisations.items()}
    return organisations, [token.budgets for token in tokens]


def _check_directory(settings: Settings) -> None:
    """Check that tokens and organisations have one place only; raises `ConfigError`."""
    if settings.directory is None:
        return
    for key in ("organisations", "tokens", "tokens_from"):
        if getattr(settings, key):
            raise ConfigError(
                f"directory: the table `{settings.directory.dynamodb.table}` has the tokens and organisations, and "
                f"this file has `{key}` as well; keep one of both (`oai-extproc directory import` copies the file's "
                "into the table)"
            )
    if settings.last_used_in is not None:
        raise ConfigError(
            f"last_used_in: the table `{settings.directory.dynamodb.table}` has the tokens, and when they were used "
            "last as well; write `last_used: true` below `directory.dynamodb` instead"
        )


def _check_networks(networks: tuple[str, ...]) -> None:
    """Check that each is a network: an address inside one could mean the address or the network."""
    for index, text in enumerate(networks):
        try:
            ip_network(text)
        except ValueError as error:
            raise ConfigError(f"media.deny[{index}]: {error}; write a network, as in 203.0.113.0/24") from None


_OWN_PORTS = {"http": ":80", "https": ":443"}
"""Ports that browsers leave out of an origin."""


def _check_origins(origins: tuple[str, ...]) -> None:
    """Check that none has a port that no browser sends."""
    for index, origin in enumerate(origins):
        port = _OWN_PORTS.get(origin.partition("://")[0])
        if port and origin.endswith(port):
            raise ConfigError(
                f"cors.origins[{index}]: browsers send this origin without {port}; write {origin.removesuffix(port)}"
            )


def _check_metadata(settings: Settings) -> None:
    """Check that the gateway's own pairs are named once each; raises `ConfigError`."""
    chosen = settings.aws.request_metadata
    if len(set(chosen)) < len(chosen):
        raise ConfigError("aws.request_metadata: a name is repeated; write each once")
