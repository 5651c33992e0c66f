"""TLS towards Bedrock, and towards workers on TCP.

Decision: docs/decisions.md, D88.
"""

from collections.abc import Iterable

from betterproto2 import Message
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    ConfigSource,
    PathConfigSource,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource as File
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContextCombinedCertificateValidationContext as Combined,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as TlsSecret
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from extproc.envoy_config import ProcessorTls, SecretKind, secret_name
from extproc.envoy_config.messages import file_of, packed
from extproc.net import Address, is_ip


def bedrock_tls(ca_file: str) -> TransportSocket:
    """Return TLS that trusts the authorities in `ca_file` only; the cluster's protocol options check the name."""
    validation = CertificateValidationContext(trusted_ca=File(filename=ca_file))
    return _socket(UpstreamTlsContext(common_tls_context=CommonTlsContext(validation_context=validation)))


def processor_tls(tls: ProcessorTls, workers: Iterable[Address]) -> TransportSocket:
    """Return TLS towards workers, which see callers' keys: each must have a certificate of `tls.ca` with its own name.

    gRPC insists on ALPN, which Envoy does not offer by itself.
    """
    names = [tls.name] if tls.name else list(dict.fromkeys(worker.host for worker in workers))
    expected = [_named(name) for name in names]
    context = _followed(tls, expected) if tls.secrets else _read_once(tls, expected)
    context.alpn_protocols = ["h2"]
    return _socket(UpstreamTlsContext(common_tls_context=context, sni=tls.name, auto_host_sni=not tls.name))


def processor_secret(tls: ProcessorTls, kind: SecretKind) -> Message:
    """Return the contents of `tls.secret_file(kind)`, which name the files.

    Envoy reads those again when a file is moved into their folder: by `mv`, or by a kubelet, which moves `..data`.
    """
    secret = TlsSecret(name=secret_name(kind))
    match kind:
        case "ca":
            secret.validation_context = CertificateValidationContext(trusted_ca=File(filename=tls.ca))
        case "certificate":
            secret.tls_certificate = _own(tls)
    return file_of(secret)


def _read_once(tls: ProcessorTls, names: list[SubjectAltNameMatcher]) -> CommonTlsContext:
    """Return files that Envoy reads when it starts."""
    return CommonTlsContext(
        tls_certificates=[_own(tls)] if tls.certificate else [],
        validation_context=CertificateValidationContext(
            trusted_ca=File(filename=tls.ca), match_typed_subject_alt_names=names
        ),
    )


def _followed(tls: ProcessorTls, names: list[SubjectAltNameMatcher]) -> CommonTlsContext:
    """Return secrets, whose files Envoy reads again: it does so for SDS only."""
    return CommonTlsContext(
        tls_certificate_sds_secret_configs=[_secret(tls, "certificate")] if tls.certificate else [],
        combined_validation_context=Combined(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=names),
            validation_context_sds_secret_config=_secret(tls, "ca"),
        ),
    )


def _secret(tls: ProcessorTls, kind: SecretKind) -> SdsSecretConfig:
    return secret_reference(secret_name(kind), tls.secret_file(kind))


def secret_reference(name: str, file: str) -> SdsSecretConfig:
    """Return the reference to the secret of this name in `file`."""
    source = ConfigSource(path_config_source=PathConfigSource(path=file), resource_api_version=ApiVersion.V3)
    return SdsSecretConfig(name=name, sds_config=source)


def _own(tls: ProcessorTls) -> TlsCertificate:
    return TlsCertificate(certificate_chain=File(filename=tls.certificate), private_key=File(filename=tls.key))


def _named(name: str) -> SubjectAltNameMatcher:
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip(name) else SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))


def _socket(context: UpstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
