"""AWS's credential chain: environment, profile, SSO, web identity, container, instance role …

Invariant: `find` returns credentials with both keys, or None where nothing is configured, or raises
`NoCredentialsError` where the configured credentials cannot be obtained.
"""

from datetime import datetime

from botocore.session import Session, get_session

from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.bedrock.credentials import Credentials

_METHODS = {
    "env": "environment",
    "assume-role": "role assumed by profile {profile}",
    "assume-role-with-web-identity": "IAM role by web identity",
    "shared-credentials-file": "profile {profile}",
    "config-file": "profile {profile}",
    "custom-process": "credential process of profile {profile}",
    "sso": "SSO session of profile {profile}",
    "login": "login session of profile {profile}",
    "container-role": "IAM role of the container",
    "iam-role": "IAM role of the instance",
}
"""The methods of botocore's chain -> their names for people."""


def find(session: Session | None = None) -> ResolvedCredentials | None:
    """Run AWS's credential chain; return None where nothing is configured. Raises `NoCredentialsError`.

    Blocks, for some seconds where there may be a role. `session` has the region for calls to STS and SSO.
    """
    try:
        session = session or get_session()
        credentials = session.get_credentials()
        if credentials is None:
            return None
        keys = credentials.get_frozen_credentials()
    except Exception as error:  # botocore's own, and others that a credential process or a file leads to
        raise NoCredentialsError(f"AWS credentials are configured, but cannot be obtained: {error}") from error
    origin = _METHODS.get(credentials.method, credentials.method).format(profile=session.profile or "default")
    if not keys.access_key or not keys.secret_key:
        raise NoCredentialsError(f"the AWS credentials ({origin}) are empty")
    # The expiry has no public name; `aws configure export-credentials` reads it in this way, too.
    expiry: datetime | None = getattr(credentials, "_expiry_time", None)
    return ResolvedCredentials(
        Credentials(keys.access_key, keys.secret_key, keys.token or None),
        origin,
        expires=expiry.timestamp() if expiry else None,
    )
