"""The phases of an exchange; `exchange` has the table of what moves it from one to the next."""

from enum import Enum, auto


class Phase(Enum):
    """A phase of an exchange."""

    BEGIN = auto()
    BODY = auto()
    READING = auto()
    FETCHING = auto()
    PLANNING = auto()
    JOB = auto()
    COMPLETING = auto()
    SENT = auto()
    ANSWERING = auto()
    DONE = auto()


TRANSLATING = frozenset({Phase.READING, Phase.PLANNING, Phase.COMPLETING})
"""Phases in which another process works on something large (`translation`)."""
UNANSWERED = TRANSLATING | {Phase.BODY, Phase.FETCHING, Phase.JOB, Phase.SENT}
"""Phases in which the answer that comes next is the first: Bedrock's, or Envoy's own."""
