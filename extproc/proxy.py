"""The proxy that a network has for calls to the outside, named by `HTTPS_PROXY` and `NO_PROXY`.

Both names count in either case, the lower one first. `NO_PROXY` means what it means to botocore, which makes some of
the gateway's calls: names and their subdomains, with a port or without, and `*`; no networks.

Invariant: a password is in `Proxy.authorization` and nowhere else: no text that is for people has it.

Decision: docs/decisions.md, D155.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from extproc.net import Address

AUTHORIZATION_VARIABLE = "OAI_PROXY_AUTHORIZATION"
"""The variable in Envoy's environment with the value of `Proxy-Authorization`, which its configuration names."""

DEFAULT_PORT = 80
"""The port of a proxy whose URL has none, as for botocore."""

_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")

_EXAMPLE = "write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with `%40` for an `@` in the password"


class ProxyError(Exception):
    """A proxy that cannot be used; the message names the variable and the remedy, and no password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT."""

    address: Address
    authorization: str = field(default="", repr=False)
    """The value of `Proxy-Authorization`; empty for a proxy that wants none."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that it wants in a CONNECT."""
        return {"proxy-authorization": self.authorization} if self.authorization else {}

    def __str__(self) -> str:
        return f"http://{self.address}"


def proxy_for(origin: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for calls to `origin`, a URL of a scheme and an authority; None for http, or if there is none.

    Raises `ProxyError`.
    """
    scheme, _, authority = origin.partition("://")
    name, text = _variable(environ, "https_proxy")
    if scheme != "https" or not text or _is_exempt(authority, environ):
        return None
    try:
        return _parse(text)
    except ValueError as error:
        raise ProxyError(f"{name} is not the URL of a proxy ({error}): {_EXAMPLE}") from None


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the name that is set, and its value; one in lower case counts even where it is empty, as in urllib."""
    if name not in environ:
        name = name.upper()
    return name, environ.get(name, "").strip()


def _is_exempt(authority: str, environ: Mapping[str, str]) -> bool:
    """Return whether `NO_PROXY` names this authority, by botocore's rule, which is urllib's."""
    from urllib import request  # http.client comes with it, and only a network with a proxy needs it

    _, names = _variable(environ, "no_proxy")
    return bool(names and request.proxy_bypass_environment(authority, {"no": names}))  # type: ignore[attr-defined]


def _parse(text: str) -> Proxy:
    """Return the proxy at a URL; one without a scheme is http. Raises `ValueError`, which quotes nothing."""
    if "://" not in text:
        text = f"http://{text.removeprefix('//')}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("it cannot be read") from None
    if parts.scheme != "http":
        raise ValueError("only a proxy at an http:// URL can be used")
    if not _HOST.fullmatch(parts.hostname or "") or port == 0:
        raise ValueError("it names no host, or no port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("it has a path")
    return Proxy(Address(parts.hostname or "", port or DEFAULT_PORT), _basic(parts.username, parts.password))


def _basic(user: str | None, password: str | None) -> str:
    """Return the header's value (RFC 7617); empty for a URL without a user."""
    if not user:
        return ""
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"
