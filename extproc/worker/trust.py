"""Whom to trust when the gateway itself calls Bedrock: the authorities that Envoy is told to trust."""

import errno
import ssl
from collections.abc import Mapping

from extproc.net import ca_bundle


class TrustError(Exception):
    """The certificate authorities cannot be read; the message says which file, and what to do."""


def bedrock_trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """A client's TLS context with those authorities; raises `TrustError` where nobody could be trusted."""
    path = ca_bundle(environ)
    try:
        if path.is_fifo():  # it would be waited for
            raise OSError(errno.EINVAL, "it is a pipe")
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise TrustError(
            f"the certificate authorities in {path} cannot be read ({error}): mend the file, or let AWS_CA_BUNDLE "
            f"name another"
        ) from error
