"""A whole response for the client, of any endpoint."""

from extproc.openai.completion import Usage
from extproc.payload import Payload
from extproc.value import Value


class Completed(Value, frozen=True):
    """A response, and its values for the access log."""

    body: Payload
    usage: Usage
    finish: str
    content_type: str = "application/json"
