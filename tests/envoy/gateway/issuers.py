"""An identity provider: it signs tokens with PyJWT, and serves its keys over HTTP."""

import json
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://login.example.com/", "api://oai-gateway"

SCOPED = "https://scoped.example.com"
"""An issuer whose tokens have scopes."""

HELD_SECONDS = 30.0
"""Longest time that a request is held; longer than Envoy waits for it."""


class Issuer:
    """An issuer with the key `a`.

    `away` makes its server respond with 503, and `open` lets it respond at all; `fetches` counts requests for its keys.
    `document` is published instead of the keys, with `status` and the header `location`.
    """

    def __init__(self, issuer: str = ISSUER, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.issuer = issuer
        self.keys: dict[str, PrivateKeyTypes] = {}
        self.away = False
        self.document: bytes | None = None
        self.status, self.location = 200, ""
        self.open = threading.Event()
        self.open.set()
        self.fetches = 0
        self.add_key("a")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.jwks_uri = f"{'https' if context else 'http'}://{host}:{self.port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def add_key(self, kid: str, *, curve: bool = False) -> None:
        """Make a key, and publish it."""
        self.keys[kid] = ec.generate_private_key(ec.SECP256R1()) if curve else new_key()

    def entry(self, **more: Any) -> dict[str, Any]:
        """Return its entry of `jwt` in gateway.yaml."""
        entry = {"issuer": self.issuer, "audiences": [AUDIENCE], "jwks_uri": self.jwks_uri, "organisation": "org"}
        return {**entry, "refresh_seconds": 5, **more}

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return the claims of a good token for `acme`; None takes one away."""
        claims = {"iss": self.issuer, "aud": AUDIENCE, "exp": int(time.time()) + 600, "sub": "alice", "org": "acme"}
        return {name: value for name, value in {**claims, **more}.items() if value is not None}

    def token(self, kid: str = "a", key: Any = None, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a token with these claims, by default signed with the key of this name."""
        used = key or self.keys[kid]
        algorithm = "ES256" if isinstance(used, ec.EllipticCurvePrivateKey) else "RS256"
        return jwt.encode(self.claims(**claims), used, algorithm, headers={"kid": kid, **(headers or {})})

    def pem(self, kid: str = "a") -> bytes:
        """Return a public key as a file, as some take it for a secret."""
        return self.keys[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwks(self) -> bytes:
        """Return what it publishes."""
        keys = [{**_jwk(key), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return json.dumps({"keys": keys}).encode()

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                issuer.open.wait(HELD_SECONDS)
                body = b"" if issuer.away else issuer.jwks() if issuer.document is None else issuer.document
                with suppress(OSError):  # Envoy has given up
                    self.send_response(503 if issuer.away else issuer.status)
                    if issuer.location:
                        self.send_header("location", issuer.location)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _jwk(key: PrivateKeyTypes) -> dict[str, Any]:
    public: Any = key.public_key()
    algorithm = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    document: dict[str, Any] = algorithm.to_jwk(public, as_dict=True)
    return document
