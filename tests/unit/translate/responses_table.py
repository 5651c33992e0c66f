"""The section on Responses of docs/compatibility.md, from the table of its fields."""

from collections.abc import Iterator

from extproc.translate.field_treatments import NotApplied, Rejected
from extproc.translate.responses_fields import RESPONSES_FIELDS, Echoed, InChatForm

SECTION = """
## Responses

`POST /oai/v1/responses` ([responses.md](responses.md)) becomes a chat request: a family takes of it what
the sections above have for the chat field.

| outcome | fields |
|---|---|
"""


def section() -> str:
    """Return the section: its introduction, and a row for each outcome."""
    return SECTION + "\n".join(_rows())


def _rows() -> Iterator[str]:
    renamed = {name: row.path for name, row in RESPONSES_FIELDS.items() if isinstance(row, InChatForm)}
    same = [name for name, path in renamed.items() if name == path]
    others = [f"`{name}` (`{path}`)" for name, path in renamed.items() if name != path]
    for start in range(0, len(same), 5):
        yield f"| as the chat field of that name | {_coded(same[start : start + 5])} |"
    for other in others:
        yield f"| as another chat field | {other} |"
    yield f"| ignored, and named in `x-oai-ignored-params` | {_coded(_of(NotApplied))} |"
    yield f"| rejected: the gateway keeps nothing | {_coded(_of(Rejected))} |"
    yield f"| applied to the response | {_coded(_of(Echoed))} |"


def _of(kind: type) -> list[str]:
    return [name for name, row in RESPONSES_FIELDS.items() if isinstance(row, kind)]


def _coded(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
