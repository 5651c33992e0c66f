"""`usage`: where each call's tokens and cost are kept, and summed up.

Decisions: docs/decisions.md, D249, D256, D261, D263.
"""

import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from extproc.config.document import ConfigError
from extproc.config.kinds import StateFile, YesNo
from extproc.net import Address, is_ip, parse_address

OtlpEndpoint = Annotated[
    str,
    Meta(
        max_length=268,
        pattern=r"\Ahttp://([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}/?\Z",
        description="the URL of a collector with its port, without TLS and path, as in http://127.0.0.1:4317",
    ),
]


class OtlpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collector of OpenTelemetry's logs (OTLP over gRPC)."""

    endpoint: OtlpEndpoint

    @property
    def address(self) -> Address:
        """Return where it listens. Raises `ValueError` for an address that there is not."""
        return parse_address(self.endpoint.removeprefix("http://").removesuffix("/"))


ROTATED = re.compile(r"([.-][0-9][0-9T:_.-]*)?")
"""The suffix that a rotation adds to the ledger's name: a number or a time. Other suffixes are not read."""

Days = Annotated[int, Meta(ge=3, le=3650, description="a whole number from 3 to 3650")]

USAGE_SECONDS = 10.0
"""Longest wait of a request for usage for its sums."""


class UsageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The record of calls, which Envoy writes, and its sums, which workers make. All of it is read at the start."""

    ledger: StateFile | None = None
    """The file to which Envoy adds a line of JSON at the end of each call of an organisation."""
    otlp: OtlpSettings | None = None
    """A collector to which Envoy sends the same records, with or without a file."""
    envoy_ai: YesNo = False
    """If true, Envoy gets a call's tokens in its own namespace `envoy.ai.token_usage` as well."""
    sqlite: StateFile | None = None
    """The file in which the workers of one machine sum up the ledger, for OpenAI's API of usage."""
    keep_days: Days = 400
    """Days of sums that are kept beside today."""

    def placed(self, folder: Path) -> "UsageSettings":
        """Return the settings with whole paths: Envoy may run in another folder."""
        ledger, sqlite = (path and str(folder.absolute() / path) for path in (self.ledger, self.sqlite))
        return msgspec.structs.replace(self, ledger=ledger, sqlite=sqlite)


def check_usage(usage: UsageSettings) -> None:
    """Check that there is something to sum up, and that the collector has an address; raises `ConfigError`."""
    if usage.sqlite is not None and usage.ledger is None:
        raise ConfigError("usage.sqlite: it has the sums of a ledger; name that in `usage.ledger`")
    if usage.otlp is not None:
        _check_collector(usage.otlp)


def _check_collector(otlp: OtlpSettings) -> None:
    try:
        address = otlp.address
    except ValueError as error:
        raise ConfigError(f"usage.otlp.endpoint: {error}") from None
    if not address.port or (":" in address.host and not is_ip(address.host)):
        raise ConfigError(f"usage.otlp.endpoint: nothing can listen at `{address}`; write http://HOST:PORT")
