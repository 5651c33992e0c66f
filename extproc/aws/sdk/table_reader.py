"""What commands read of the DynamoDB table of tokens and organisations, and what is wrong where they cannot.

Calls block. They are boto3's, with the same credentials and settings as a gateway's own.

Invariant: a method returns what the table has, or raises `TableProblemError`, whose message names the table and what to
do. `temporary` is true where the same call may succeed later without a change.

Decision: docs/decisions.md, D223.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as UnreachableError

from extproc.aws.sdk.table_scan import scan_items
from extproc.config.items import KEY, VALUE

_CLIENT = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 2})

MISSING, DENIED = "ResourceNotFoundException", "AccessDeniedException"

_REJECTED = frozenset(
    {"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationToken"}
)
_THROTTLED = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})

_CREDENTIALS = "set a profile, keys, or run where a role provides them; an API key of Bedrock opens no table"


class TableProblemError(Exception):
    """The table cannot be read; `code` is AWS's, empty where AWS did not answer."""

    def __init__(self, message: str, code: str = "", *, temporary: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.temporary = temporary


@dataclass(frozen=True, slots=True)
class TableReader:
    """A table, by its name and region."""

    name: str
    region: str

    def get(self, key: str) -> str | None:
        """Return the text of an item ("" for another type), None if there is none. Raises `TableProblemError`."""
        with self._explained("dynamodb:GetItem"):
            item = self._client().get_item(TableName=self.name, Key={KEY: {"S": key}}).get("Item")
        return None if item is None else str(item.get(VALUE, {}).get("S", ""))

    def scan(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the text of every item, "" where it has none. Raises `TableProblemError`."""
        with self._explained("dynamodb:Scan"):
            for item in scan_items(self._client(), self.name, (KEY, VALUE)):
                yield item[KEY], item.get(VALUE, "")

    def _client(self) -> Any:
        return Session().client("dynamodb", region_name=self.region, config=_CLIENT)

    @contextmanager
    def _explained(self, permission: str) -> Iterator[None]:
        """Turn boto3's errors of a call that needs `permission` into `TableProblemError`s."""
        try:
            yield
        except ClientError as error:
            raise self._rejected(error, permission) from error
        except NoCredentialsError as error:
            raise TableProblemError(f"{self._where()}: there are no AWS credentials: {_CREDENTIALS}") from error
        except (UnreachableError, HTTPClientError) as error:
            message = f"DynamoDB cannot be reached: look at the network, the proxy and the region ({error})"
            raise TableProblemError(f"{self._where()}: {message}", temporary=True) from error
        except BotoCoreError as error:
            raise TableProblemError(f"{self._where()}: {error}") from error

    def _rejected(self, error: ClientError, permission: str) -> TableProblemError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        temporary = code in _THROTTLED or status >= 500
        return TableProblemError(
            f"{self._where()}: {self._advice(code, permission, status)}", code, temporary=temporary
        )

    def _advice(self, code: str, permission: str, status: int) -> str:
        """Return what is wrong, and what to do."""
        if code == MISSING:
            return (
                "there is no such table, or it is not ready, in the account of these credentials: make it with "
                "`oai-extproc directory init`, or name its region under `directory.dynamodb.region`"
            )
        if code == "ValidationException":
            return f"has another key than `{KEY}`, a string: name a table that `oai-extproc directory init` has made"
        if code == DENIED:
            return f"these credentials may not read it: give them the permission `{permission}`"
        if code in _REJECTED:
            return f"AWS does not accept these credentials ({code}): renew them, or {_CREDENTIALS}"
        if code in _THROTTLED:
            return (
                f"DynamoDB throttles it ({code}): let it be billed by request (PAY_PER_REQUEST), or give it more read "
                "capacity, and check again"
            )
        return (
            f"DynamoDB answered with {code or status}; check again" if status >= 500 else f"DynamoDB answered: {code}"
        )

    def _where(self) -> str:
        return f"table {self.name} in {self.region}"
