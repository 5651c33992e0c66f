"""All items of a DynamoDB table, page by page, by boto3. Calls block."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def scan_items(
    client: Any, table: str, attributes: Sequence[str] = (), *, consistent: bool = False
) -> Iterator[Mapping[str, str]]:
    """Yield the attributes of each item that are strings: those that are named, or all.

    With `consistent`, no write is missed that ended before the call. Raises boto3's errors.
    """
    names = {f"#{number}": name for number, name in enumerate(attributes)}
    chosen = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=consistent, **chosen):
        for item in page["Items"]:
            yield {name: value["S"] for name, value in item.items() if "S" in value}
