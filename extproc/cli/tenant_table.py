"""The table that a gateway.yaml names, for the commands that write it."""

from typing import TYPE_CHECKING

from extproc import config
from extproc.cli.parameters import UserError, user_errors

if TYPE_CHECKING:
    from extproc.aws.sdk.table import DynamoDbTable


def table_of(settings: config.Settings) -> "DynamoDbTable":
    """Return the table of a gateway.yaml; raises `UserError` where it names none, or there is no region."""
    from extproc.aws.sdk.endpoints import resolve
    from extproc.aws.sdk.table import DynamoDbTable
    from extproc.bedrock.endpoints import EndpointError

    if settings.directory is None:
        raise UserError("gateway.yaml names no table: add `directory: {dynamodb: {table: NAME}}`")
    with user_errors(EndpointError):
        region = settings.directory.dynamodb.region or resolve(settings.region).region
    return DynamoDbTable(settings.directory.dynamodb.table, region)
