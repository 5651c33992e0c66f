"""The structured output that the clients' tests request."""

from typing import Literal

from pydantic import BaseModel


class Stop(BaseModel):
    city: str
    nights: int


class Journey(BaseModel):
    """A journey, by stops: nested, with a reference and an enumeration."""

    title: str
    by: Literal["train", "boat"]
    stops: list[Stop]
