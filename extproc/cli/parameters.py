"""Options, parameter types and errors that several commands share."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from extproc import config
from extproc.net import Address, is_ip, parse_address
from extproc.proxy import Proxy, ProxyError, proxy_for
from extproc.telemetry.lines import write_line

if TYPE_CHECKING:
    from extproc.bedrock.endpoints import Endpoints

DEFAULT_CONFIG = Path("gateway.yaml")


class UserError(click.ClickException):
    """An error that the user can correct; the message names the remedy."""

    exit_code = 2


class TemporaryError(click.ClickException):
    """A check that could not be made, since a service does not answer or throttles."""

    exit_code = 1


class GatewayError(click.ClickException):
    """The gateway could not keep running."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message without waiting for a reader: earlier output may have filled the pipe."""
        if file is not None:
            super().show(file)
            return
        write_line(f"Error: {self.format_message()}")


class AddressParameter(click.ParamType[Address]):
    """`unix:/path` or HOST:PORT."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Convert to an address; a failure is a usage error."""
        if isinstance(value, Address):
            return value
        try:
            return parse_address(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SocketParameter(AddressParameter):
    """A unix socket."""

    name = "unix:path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Convert to an address; a failure is a usage error."""
        address = super().convert(value, param, ctx)
        if not address.path:
            self.fail(f"{value} is not a socket: write unix: and a path, as in unix:/run/oai/admin.sock", param, ctx)
        return address


class ListenParameter(AddressParameter):
    """An address of this machine to listen on: IP:PORT, or localhost:PORT."""

    name = "ip:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Convert to an address; a failure is a usage error."""
        try:
            address = value if isinstance(value, Address) else parse_address(str(value))
        except ValueError:
            address = Address()
        if address.host == "localhost":
            return Address("127.0.0.1", address.port)
        if address.path or not is_ip(address.host):
            self.fail(f"{value} is not an address to listen on: write IP:PORT, as in 127.0.0.1:8080", param, ctx)
        return address


ADDRESS = AddressParameter()
SOCKET = SocketParameter()
LISTEN = ListenParameter()
PLACE = click.Path(path_type=Path)
"""A path on Envoy's machine, which need not exist on this one."""

required_config = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The gateway's configuration.",
)


@contextlib.contextmanager
def user_errors(*exceptions: type[Exception]) -> Iterator[None]:
    """Turn `exceptions` into a `UserError` with the same message."""
    try:
        yield
    except exceptions as error:
        raise UserError(str(error)) from error


def load_settings(path: Path) -> config.Settings:
    """Load gateway.yaml; raises `UserError`."""
    with user_errors(config.ConfigError):
        return config.load(path)


def bedrock_proxy(endpoints: "Endpoints") -> Proxy | None:
    """Return the proxy of the environment for calls to Bedrock, None if there is none.

    Raises `UserError`, also where NO_PROXY exempts some regions and not others.
    """
    with user_errors(ProxyError):
        proxy = proxy_for(str(endpoints.runtime), os.environ)
        for region, endpoint in endpoints.elsewhere.items():
            if proxy_for(str(endpoint), os.environ) != proxy:
                raise UserError(
                    f"NO_PROXY exempts {endpoints.runtime} or {region}'s {endpoint}: exempt both or neither"
                )
    return proxy


def jwks_proxies(settings: config.Settings) -> dict[str, Proxy]:
    """Return the proxy of the environment for the keys of each issuer that needs it; raises `UserError`."""
    from extproc.config.jwt import jwks_endpoint

    origins = [str(jwks_endpoint(each.jwks_uri)) for each in settings.jwt]
    with user_errors(ProxyError):
        found = {origin: proxy_for(origin, os.environ) for origin in origins}
    return {origin: proxy for origin, proxy in found.items() if proxy is not None}
