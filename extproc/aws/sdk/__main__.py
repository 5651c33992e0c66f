"""`python -m extproc.aws.sdk QUESTION…`: the process of an `AwsLookup` (`extproc.aws.lookup`).

Reads the region, a line, empty for that of AWS's settings. Then says a `Reply` to each question, a line of JSON each.

Invariant: whatever goes wrong is the answer to the question that it goes wrong with, and the next one is looked into.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from io import FileIO
from typing import Any, cast

import msgspec
from botocore.session import get_session

from extproc.aws.credentials import BEARER_VARIABLE
from extproc.aws.listing import ListingDeniedError, ListingError
from extproc.aws.lookup import Keys, Problem, Question, Reply
from extproc.aws.sdk.endpoints import resolve
from extproc.aws.sdk.identity import find
from extproc.aws.sdk.models import listed
from extproc.bedrock.sigv4 import Credentials


class Answers:
    """A method for each question. One session for all: it has then read AWS's descriptions, and found credentials."""

    def __init__(self, region: str) -> None:
        """`region` may be empty if the first question is for the endpoints."""
        self._session = get_session()
        self._region = region

    def endpoints(self) -> Any:
        """`Endpoints`."""
        endpoints = resolve(self._region, self._session)
        self._region = endpoints.region
        return endpoints

    def identity(self) -> Any:
        """`Keys`; nothing where there is an API key, which comes before them, or nothing at all."""
        if os.environ.get(BEARER_VARIABLE, "").strip():
            return None
        self._session.set_config_variable("region", self._region)
        found = find(self._session)
        if found is None:
            return None
        keys = found.identity
        assert isinstance(keys, Credentials)  # an API key is no part of the chain
        return Keys(keys.access_key, keys.secret_key, keys.session_token, found.origin, found.expires)

    def models(self) -> Any:
        """`Listing`."""
        return listed(self._region, self._session)


def reply(answers: Answers, question: Question) -> Reply:
    """The answer to `question`, or what is wrong."""
    try:
        return Reply(question, answer=msgspec.Raw(msgspec.json.encode(getattr(answers, question)())))
    except ListingDeniedError as error:
        problem = Problem(type(error).__name__, str(error), error.actions)
    except ListingError as error:
        problem = Problem(error.kind, str(error))
    except Exception as error:
        problem = Problem(type(error).__name__, str(error))
    return Reply(question, problem=problem)


def main(questions: Sequence[Question]) -> None:
    """Answer, and end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who asked, and ends this with them
    gc.disable()  # nothing is here for long
    asked = FileIO(0)
    region = asked.readline()
    if not region:
        return
    threading.Thread(target=_leave_with, args=(asked,), daemon=True).start()
    answers = Answers(region.decode().strip())
    for question in questions:
        sys.stdout.buffer.write(msgspec.json.encode(reply(answers, question)) + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)  # taking everything down in order would be a fifth of the time


def _leave_with(asked: FileIO) -> None:
    """End this process when those who asked have ended, or want no more."""
    asked.read(1)
    os._exit(0)


if __name__ == "__main__":
    main(cast("list[Question]", sys.argv[1:]))
