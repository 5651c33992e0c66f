"""Who we are for AWS, by its credential chain: environment, profile, SSO, web identity, container, instance role …

Invariant: `find` gives an identity with both keys, or None where nothing is set up, or raises `NoCredentialsError`
where something is and does not work: the two are not the same.
"""

from datetime import datetime

from botocore.session import Session, get_session

from extproc.aws.credentials import Found, NoCredentialsError
from extproc.bedrock.sigv4 import Credentials

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
"""botocore's names for where it found credentials, for people."""


def find(session: Session | None = None) -> Found | None:
    """What AWS's settings give, None if that is nothing. Blocks, for some seconds where there may be a role.

    `session` has the region for the calls that this may take (STS, SSO). Raises `NoCredentialsError`.
    """
    try:
        session = session or get_session()
        credentials = session.get_credentials()
        if credentials is None:
            return None
        keys = credentials.get_frozen_credentials()
    except Exception as error:  # botocore's own, but also whatever a credential process or a file leads to
        raise NoCredentialsError(f"AWS credentials are set up, but cannot be had: {error}") from error
    origin = _METHODS.get(credentials.method, credentials.method).format(profile=session.profile or "default")
    if not keys.access_key or not keys.secret_key:
        raise NoCredentialsError(f"the AWS credentials ({origin}) are empty")
    # The time when they expire has no public name; `aws configure export-credentials` reads it so, too.
    expiry: datetime | None = getattr(credentials, "_expiry_time", None)
    return Found(
        Credentials(keys.access_key, keys.secret_key, keys.token or None),
        origin,
        expires=expiry.timestamp() if expiry else None,
    )
