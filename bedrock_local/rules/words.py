"""How refusals are put, and what names are said more than once."""

from collections import Counter
from collections.abc import Iterable


def errors(text: str) -> str:
    """What the model itself refuses, as Bedrock passes it on."""
    return f"The model returned the following errors: {text}"


def unsupported(field: str, path: str) -> str:
    """A field that this model does not take, as Bedrock says it."""
    return f"This model doesn't support the {field} field that you provided at {path}. Remove it and try again."


def not_an_object(place: str) -> str:
    """A value that must be a JSON object, and is none."""
    return f"The format of the value at {place} is invalid. Provide a json object for the field and try again."


def repeated(names: Iterable[str]) -> list[str]:
    """Those that are there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
