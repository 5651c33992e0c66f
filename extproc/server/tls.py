"""The certificates of a worker on TCP: looked at before gRPC, which says no more than that it cannot listen."""

import ssl
from pathlib import Path

from extproc.config.sources import read_regular
from extproc.transport.listen import ListenError, Tls


def read_tls(listen: str, pair: tuple[Path, Path] | None, client_ca: Path | None) -> Tls | None:
    """What `--tls` and `--tls-client-ca` name; `ListenError` where TLS cannot be meant, or with them cannot be had."""
    if pair is None:
        if client_ca is not None:
            raise ListenError("--tls-client-ca says nothing without --tls")
        return None
    if listen.startswith("unix:"):
        raise ListenError(f"--tls is for HOST:PORT, and {listen} is a socket, to which Envoy talks in plain text")
    try:
        certificate, key = (read_regular(path) for path in pair)
        authorities = read_regular(client_ca) if client_ca else None
    except OSError as error:
        raise ListenError(
            f"{error.filename}: {error.strerror}; --tls and --tls-client-ca name readable files"
        ) from error
    _check(*pair, client_ca)
    return Tls(certificate, key, authorities)


def _check(certificate: Path, key: Path, client_ca: Path | None) -> None:
    """`ListenError` for files that gRPC could not use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ListenError(f"--tls: {certificate} and {key} are no PEM certificate and its key: {error}") from error
    if client_ca is None:
        return
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise ListenError(f"--tls-client-ca: {client_ca} has no PEM certificate: {error}") from error
