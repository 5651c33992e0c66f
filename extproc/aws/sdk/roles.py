"""AssumeRole of STS, by botocore. The calls block."""

from typing import Any

from botocore.config import Config
from botocore.session import Session, get_session

from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.aws.sdk.models import list_models
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.seed import catalogue_of
from extproc.config.roles import RoleSettings

_CLIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "max_attempts": 2})

SESSION = "oai-extproc"
"""The name of the session, as CloudTrail has it."""


def assume(session: Session, region: str, role: RoleSettings) -> ResolvedCredentials:
    """Return temporary credentials of a role, by STS in `region`. Raises `NoCredentialsError`.

    STS is called with the credentials of AWS's chain: an API key of Bedrock can assume no role.
    """
    parameters: dict[str, Any] = {"RoleArn": role.arn, "RoleSessionName": SESSION}
    if role.external_id is not None:
        parameters["ExternalId"] = role.external_id
    try:
        session.set_config_variable("region", region)
        client: Any = session.create_client("sts", region_name=region, config=_CLIENT)
        found = client.assume_role(**parameters)["Credentials"]
    except Exception as error:  # botocore's own, and others that a credential process or a file leads to
        raise NoCredentialsError(f"the role {role.arn} cannot be assumed: {error}") from error
    keys = Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
    return ResolvedCredentials(keys, f"role {role.arn}", expires=found["Expiration"].timestamp())


def fetch_as(role: RoleSettings, region: str) -> Catalogue:
    """Return the catalogue of `region` that a role may list; raises as `assume` and `list_models` do."""
    session = get_session()
    keys = assume(session, region, role).credentials
    return catalogue_of(list_models(region, session, keys))
