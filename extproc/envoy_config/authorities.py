"""Which certificate authorities may vouch for Bedrock: the file that Envoy is told to trust.

AWS's own setting first, as boto3 has it; then what the operating system trusts; then the bundle that comes with
botocore. Never nothing: without a file Envoy would believe anybody.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import botocore

SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def ca_bundle(environ: Mapping[str, str], system: Iterable[str] = SYSTEM_FILES) -> Path:
    """The bundle, as an existing file or as what `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE` says, as in boto3."""
    named = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    if named:
        return Path(named)
    for name in system:
        if Path(name).is_file():
            return Path(name)
    return Path(botocore.__file__).with_name("cacert.pem")
