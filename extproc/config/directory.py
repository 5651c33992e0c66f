"""The keys of gateway.yaml about a table of tokens and organisations."""

import msgspec

from extproc.config.kinds import Region, TableName, YesNo


class DynamoDbSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of DynamoDB with tokens and organisations; `oai-extproc directory init` makes it."""

    table: TableName
    region: Region | None = None
    """The table's region; the default is the gateway's own."""
    last_used: YesNo = False
    """Whether workers write into it when each token was used last, to the minute."""


class DirectorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store of tokens and organisations, in place of this file."""

    dynamodb: DynamoDbSettings
