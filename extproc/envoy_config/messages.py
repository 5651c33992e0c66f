"""Helpers for the messages that every part of a bootstrap contains."""

from collections.abc import Mapping
from datetime import timedelta

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Pipe,
    SocketAddress,
)
from envoy_data_plane.google.protobuf import Any

from extproc.envoy_config.plain_messages import plain_messages
from extproc.net import Address


def packed(message: Message) -> Any:
    """Return `message` as a `typed_config`."""
    return Any.pack(message)


def file_of(resource: Message) -> Message:
    """Return the contents of a file that Envoy follows. Their module imports gRPC, which nothing else here needs."""
    with plain_messages():
        from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse

    return DiscoveryResponse(resources=[packed(resource)])


def seconds(number: float) -> timedelta:
    """Return a duration, as the typed messages have it."""
    return timedelta(seconds=number)


def address_message(address: Address, *, mode: int = 0) -> EnvoyAddress:
    """Return `address` as Envoy has it; `mode` are the permissions of a socket that Envoy makes (None: its default)."""
    if address.path:
        return EnvoyAddress(pipe=Pipe(path=address.path, mode=mode))
    return EnvoyAddress(socket_address=SocketAddress(address=address.host, port_value=address.port))


def headers_to_set(headers: Mapping[str, str]) -> list[HeaderValueOption]:
    """Return `headers`, each to replace any of its name."""
    return [
        HeaderValueOption(
            header=HeaderValue(key=name, value=value),
            append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers.items()
    ]
