"""What `check --roles` reports: the roles of organisations that cannot be assumed.

Decision: docs/decisions.md, D217.
"""

from collections.abc import Iterator

from botocore.session import get_session

from extproc.aws.credentials import NoCredentialsError
from extproc.aws.sdk.roles import assume
from extproc.config import Settings
from extproc.config.roles import RoleSettings


def role_failures(settings: Settings, region: str) -> Iterator[str]:
    """Assume each role of the file once, in the region where it is used; yield what is wrong with an organisation's.

    `region` is the gateway's own. Calls STS.
    """
    session = get_session()
    known: dict[tuple[str, RoleSettings], str] = {}
    for name, own in settings.organisations.items():
        if own.role is None or not own.enabled:
            continue
        key = (own.region or region, own.role)
        if key not in known:
            known[key] = ""
            try:
                assume(session, *key)
            except NoCredentialsError as error:
                known[key] = str(error)
        if known[key]:
            yield (
                f"organisations.{name}.role: {known[key]}; permit the gateway's identity `sts:AssumeRole` for it, and "
                "have its trust policy name that identity (and the external id)"
            )
