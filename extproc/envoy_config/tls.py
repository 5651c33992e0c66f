"""How the other ends of Envoy's connections prove who they are: Bedrock, and workers on TCP."""

from collections.abc import Iterable

from envoy_data_plane.envoy.config.core.v3 import DataSource as File
from envoy_data_plane.envoy.config.core.v3 import TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from extproc.envoy_config import Address, ProcessorTls, is_ip
from extproc.envoy_config.messages import packed


def bedrock_tls(ca_file: str) -> TransportSocket:
    """TLS that trusts the authorities in `ca_file` and nobody else; the cluster's protocol options check the name."""
    validation = CertificateValidationContext(trusted_ca=File(filename=ca_file))
    return _socket(UpstreamTlsContext(common_tls_context=CommonTlsContext(validation_context=validation)))


def processor_tls(tls: ProcessorTls, workers: Iterable[Address]) -> TransportSocket:
    """TLS towards workers, which see callers' keys: each must show a certificate of `tls.ca` with its own name.

    gRPC insists on ALPN, which Envoy does not offer by itself.
    """
    names = [tls.name] if tls.name else list(dict.fromkeys(worker.host for worker in workers))
    own = [TlsCertificate(certificate_chain=File(filename=tls.certificate), private_key=File(filename=tls.key))]
    context = CommonTlsContext(
        alpn_protocols=["h2"],
        tls_certificates=own if tls.certificate else [],
        validation_context=CertificateValidationContext(
            trusted_ca=File(filename=tls.ca), match_typed_subject_alt_names=[_named(name) for name in names]
        ),
    )
    return _socket(UpstreamTlsContext(common_tls_context=context, sni=tls.name, auto_host_sni=not tls.name))


def _named(name: str) -> SubjectAltNameMatcher:
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if is_ip(name) else SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))


def _socket(context: UpstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))
