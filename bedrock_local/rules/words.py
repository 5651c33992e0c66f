"""AWS's error messages that several rules use."""

from collections import Counter
from collections.abc import Iterable


def errors(text: str) -> str:
    """Return an error of the model itself, as Bedrock passes it on."""
    return f"The model returned the following errors: {text}"


def unsupported(field: str, path: str) -> str:
    """Return the error for a field that the model does not take."""
    return f"This model doesn't support the {field} field that you provided at {path}. Remove it and try again."


def not_an_object(place: str) -> str:
    """Return the error for a value that must be a JSON object."""
    return f"The format of the value at {place} is invalid. Provide a json object for the field and try again."


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]
