"""TLS towards callers: HTTP/2 and HTTP/1.1 by ALPN, and client certificates where there is an authority for them.

Envoy reads files again only where a secret (SDS) names them. It then watches a folder for what is moved into it: a file
by `mv`, or the link that a kubelet swaps. A link that is removed and made again, as certbot does, it does not notice.

Decisions: docs/decisions.md, D151.
"""

from pathlib import PurePosixPath

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import DataSource as File
from envoy_data_plane.envoy.config.core.v3 import TransportSocket, WatchedDirectory
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as TlsSecret

from extproc.envoy_config import CallersSecret, CallersTls
from extproc.envoy_config.messages import file_of, packed
from extproc.envoy_config.tls import secret_reference


def callers_tls(tls: CallersTls) -> TransportSocket:
    """Return the listener's TLS."""
    context = _followed(tls) if tls.secrets else _read_once(tls)
    context.alpn_protocols = ["h2", "http/1.1"]
    config = DownstreamTlsContext(common_tls_context=context, require_client_certificate=bool(tls.client_ca) or None)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(config))


def callers_secret(tls: CallersTls, kind: CallersSecret) -> Message:
    """Return the contents of `tls.secret_file(kind)`, which name the files."""
    secret = TlsSecret(name=kind)
    match kind:
        case "tls":
            secret.tls_certificate = _certificate(tls)
            secret.tls_certificate.watched_directory = _watched(tls.watched, tls.certificate, tls.key)
        case "tls-client-ca":
            secret.validation_context = _authorities(tls)
            secret.validation_context.watched_directory = _watched(tls.watched, tls.client_ca)
    return file_of(secret)


def _read_once(tls: CallersTls) -> CommonTlsContext:
    return CommonTlsContext(
        tls_certificates=[_certificate(tls)], validation_context=_authorities(tls) if tls.client_ca else None
    )


def _followed(tls: CallersTls) -> CommonTlsContext:
    ca = secret_reference("tls-client-ca", tls.secret_file("tls-client-ca")) if tls.client_ca else None
    return CommonTlsContext(
        tls_certificate_sds_secret_configs=[secret_reference("tls", tls.secret_file("tls"))],
        validation_context_sds_secret_config=ca,
    )


def _certificate(tls: CallersTls) -> TlsCertificate:
    return TlsCertificate(certificate_chain=File(filename=tls.certificate), private_key=File(filename=tls.key))


def _authorities(tls: CallersTls) -> CertificateValidationContext:
    return CertificateValidationContext(trusted_ca=File(filename=tls.client_ca))


def _watched(folder: str, *files: str) -> WatchedDirectory | None:
    """Return the folder to watch, theirs by default; None where they are in several, which Envoy then watches."""
    folders = {folder} if folder else {str(PurePosixPath(file).parent) for file in files}
    return WatchedDirectory(path=folders.pop()) if len(folders) == 1 else None
