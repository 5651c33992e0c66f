"""The DynamoDB table of tokens and organisations: made and written by boto3, which is for commands only. Calls block.

Invariant: `create` changes nothing about a table that there is, and rejects one with another key.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from extproc.config.items import KEY, ORGANISATION, TOKEN

_CLIENT = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 5})
_WAITING = {"Delay": 1, "MaxAttempts": 120}


class TableError(Exception):
    """DynamoDB rejected a call, or could not be called; the message names the table."""


@dataclass(frozen=True, slots=True)
class DynamoDbTable:
    """A table, by its name and region."""

    name: str
    region: str

    def create(self) -> bool:
        """Make the table, and wait until it is usable; return False if there is one already. Raises `TableError`."""
        with self._named_errors():
            client = _client(self.region)
            made = self._create(client)
            client.get_waiter("table_exists").wait(TableName=self.name, WaiterConfig=_WAITING)
            if not made:
                self._check(client.describe_table(TableName=self.name)["Table"])
        return made

    def write(self, items: Iterable[Mapping[str, str]]) -> int:
        """Write these items, in place of those with the same keys; return their number. Raises `TableError`."""
        count = 0
        with self._named_errors(), self._resource().batch_writer() as batch:
            for item in items:
                batch.put_item(Item=dict(item))
                count += 1
        return count

    def prune(self, kept: Collection[str]) -> int:
        """Delete all tokens and organisations but those with the keys `kept`; return their number.

        Tokens go first. Raises `TableError`.
        """
        with self._named_errors():
            table = self._resource()
            pages = table.meta.client.get_paginator("scan").paginate(
                TableName=self.name, ProjectionExpression="#key", ExpressionAttributeNames={"#key": KEY}
            )
            keys = {item[KEY] for page in pages for item in page["Items"]}
            superfluous = [key for kind in (TOKEN, ORGANISATION) for key in keys - set(kept) if key.startswith(kind)]
            with table.batch_writer() as batch:
                for key in superfluous:
                    batch.delete_item(Key={KEY: key})
        return len(superfluous)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn boto3's errors into `TableError`s, which name the table."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise TableError(f"table {self.name} in {self.region}: {error}") from error

    def _resource(self) -> Any:
        return Session().resource("dynamodb", region_name=self.region, config=_CLIENT).Table(self.name)

    def _create(self, client: Any) -> bool:
        try:
            client.create_table(
                TableName=self.name,
                KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ResourceInUseException":
                raise
            return False
        return True

    def _check(self, description: Mapping[str, Any]) -> None:
        """Raise `TableError` for a table with another key."""
        keys = [(key["AttributeName"], key["KeyType"]) for key in description["KeySchema"]]
        kinds = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
        if keys != [(KEY, "HASH")] or kinds.get(KEY) != "S":
            raise TableError(
                f"table {self.name} in {self.region} has another key than `{KEY}`, a string: name another table"
            )


def _client(region: str) -> Any:
    return Session().client("dynamodb", region_name=region, config=_CLIENT)
