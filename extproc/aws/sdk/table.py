"""The DynamoDB table of tokens and organisations: made and written by boto3, which is for commands only. Calls block.

Invariant: `create` changes nothing about a table that there is, and rejects one with another key. `add`, `replace` and
`remove` change an item only if it is as expected, and leave its other attributes.

Decision: docs/decisions.md, D204.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from extproc.aws.sdk.table_scan import scan_items
from extproc.config.items import KEY, ORGANISATION, TOKEN, USED, VALUE

_CLIENT = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 5})
_WAITING = {"Delay": 1, "MaxAttempts": 120}


_CHANGED = "the item {} has changed meanwhile, and is left as it is; run the command again"
_CONFLICTS = {
    "put_item": "there is an item {} already, and it is left as it is; run the command again",
    "update_item": _CHANGED,
    "delete_item": _CHANGED,
}
"""Why a call was not made, by its operation."""


class TableError(Exception):
    """DynamoDB rejected a call, or could not be called; the message names the table."""


class ConflictError(TableError):
    """An item is not as expected; nothing was changed."""


@dataclass(frozen=True, slots=True)
class DynamoDbTable:
    """A table, by its name and region."""

    name: str
    region: str

    def __str__(self) -> str:
        return f"the table {self.name} in {self.region}"

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

    def scan(self) -> Iterator[Mapping[str, str]]:
        """Yield the attributes that are strings of each item, as the table is now. Raises `TableError`."""
        with self._named_errors():
            yield from scan_items(_client(self.region), self.name, consistent=True)

    def add(self, item: Mapping[str, str]) -> None:
        """Write an item whose key has none. Raises `ConflictError` or `TableError`."""
        values = {name: {"S": value} for name, value in item.items()}
        self._change(
            "put_item", item[KEY], item[VALUE], Item=values, ConditionExpression=f"attribute_not_exists({KEY})"
        )

    def replace(self, key: str, before: str, after: str) -> None:
        """Give the item of `key` the text `after`, if it is `before`. Raises `ConflictError` or `TableError`."""
        values = {":before": {"S": before}, ":after": {"S": after}}
        self._change(
            "update_item",
            key,
            after,
            Key={KEY: {"S": key}},
            UpdateExpression="SET #text = :after",
            ConditionExpression="#text = :before",
            ExpressionAttributeNames={"#text": VALUE},
            ExpressionAttributeValues=values,
        )

    def remove(self, key: str, before: str) -> None:
        """Delete the item of `key`, if its text is `before`. Raises `ConflictError` or `TableError`."""
        self._change(
            "delete_item",
            key,
            None,
            Key={KEY: {"S": key}},
            ConditionExpression="#text = :before",
            ExpressionAttributeNames={"#text": VALUE},
            ExpressionAttributeValues={":before": {"S": before}},
        )

    def forget_use(self, sha256: str) -> None:
        """Delete the time of a token's last use, if there is one. Raises `TableError`."""
        with self._named_errors():
            _client(self.region).delete_item(TableName=self.name, Key={KEY: {"S": USED + sha256}})

    def _change(self, operation: str, key: str, after: str | None, **arguments: Any) -> None:
        """Make a call with a condition; raises `ConflictError` unless the item has the text `after` then.

        boto3 repeats a call whose response is lost, and the condition is then false by the first call's own doing.
        """
        with self._named_errors():
            client = _client(self.region)
            try:
                getattr(client, operation)(TableName=self.name, **arguments)
            except client.exceptions.ConditionalCheckFailedException as error:
                response = client.get_item(TableName=self.name, Key={KEY: {"S": key}}, ConsistentRead=True)
                if response.get("Item", {}).get(VALUE, {}).get("S") != after:
                    raise ConflictError(f"{self}: {_CONFLICTS[operation]}".format(key)) from error

    def prune(self, kept: Collection[str]) -> int:
        """Delete all tokens and organisations but those with the keys `kept`; return their number.

        Tokens go first; the times of their last use go with them, and are not counted. Raises `TableError`.
        """
        with self._named_errors():
            table = self._resource()
            keys = {item[KEY] for item in scan_items(_client(self.region), self.name, (KEY,))}
            superfluous = [key for kind in (TOKEN, ORGANISATION) for key in keys - set(kept) if key.startswith(kind)]
            unused = [key for key in keys if key.startswith(USED) and TOKEN + key.removeprefix(USED) not in kept]
            with table.batch_writer() as batch:
                for key in superfluous + unused:
                    batch.delete_item(Key={KEY: key})
        return len(superfluous)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn boto3's errors into `TableError`s, which name the table."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise TableError(f"{self}: {error}") from error

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
            raise TableError(f"{self} has another key than `{KEY}`, a string: name another table")


def _client(region: str) -> Any:
    return Session().client("dynamodb", region_name=region, config=_CLIENT)
