"""Certificate authorities for the gateway's own calls to Bedrock: those that Envoy trusts."""

import errno
import ssl
from collections.abc import Mapping

from extproc.net import ca_bundle


class TrustError(Exception):
    """The certificate authorities cannot be read; the message names the file, and the remedy."""


def bedrock_trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a client's TLS context with those authorities; raises `TrustError` if there are none."""
    path = ca_bundle(environ)
    try:
        if path.is_fifo():  # it would be waited for
            raise OSError(errno.EINVAL, "it is a pipe")
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise TrustError(
            f"the certificate authorities in {path} cannot be read ({error}): fix the file, or let AWS_CA_BUNDLE "
            f"name another"
        ) from error
