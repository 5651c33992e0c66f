"""`python -m extproc.aws.sdk QUESTION…`: the process of an `AwsLookup` (`extproc.aws.lookup`).

Reads a `Subject`, a line of JSON. Then prints a `LookupReply` to each question, a line of JSON
each.

Invariant: a failure is the reply to its question, and does not keep the next question from being handled.
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

from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
from extproc.aws.credentials import bearer_token
from extproc.aws.lookup import LookupReply, Problem, Question, Subject
from extproc.aws.sdk.endpoints import resolve, resolve_table
from extproc.aws.sdk.identity import find
from extproc.aws.sdk.models import list_models
from extproc.aws.sdk.roles import assume


class Resolver:
    """A method for each question. One session for all reads AWS's descriptions, and finds credentials, only once."""

    def __init__(self, subject: Subject) -> None:
        """`subject` may have no region if the first question is for the endpoints."""
        self._session = get_session()
        self._region = subject.region or ""
        self._elsewhere = subject.elsewhere
        self._role = subject.role
        self._keys = subject.keys

    def endpoints(self) -> Any:
        """Return `Endpoints`."""
        endpoints = resolve(self._region, self._session, self._elsewhere)
        self._region = endpoints.region
        return endpoints

    def identity(self) -> Any:
        """Return `ResolvedCredentials`; None where nothing is configured, or an API key, which comes before them."""
        if bearer_token() is not None:
            return None
        self._session.set_config_variable("region", self._region)
        return find(self._session)

    def table(self) -> Any:
        """Return DynamoDB's `Endpoint` in the region, which is not empty."""
        return resolve_table(self._region, self._session)

    def role(self) -> Any:
        """Return the `ResolvedCredentials` of the role."""
        assert self._role is not None
        return assume(self._session, self._region, self._role)

    def models(self) -> Any:
        """Return a `Listing`: by the keys of the subject, if there are some, and else by the gateway's own identity."""
        return list_models(self._region, self._session, self._keys)


def reply(resolver: Resolver, question: Question) -> LookupReply:
    """Return the result of `question`, or its problem."""
    try:
        return LookupReply(question, result=msgspec.Raw(msgspec.json.encode(getattr(resolver, question)())))
    except ListingDeniedError as error:
        problem = Problem(type(error).__name__, str(error), error.actions)
    except ListingError as error:
        problem = Problem(error.kind, str(error))
    except Exception as error:
        problem = Problem(type(error).__name__, str(error))
    return LookupReply(question, problem=problem)


def main(questions: Sequence[Question]) -> None:
    """Reply to each question, and end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the worker as well, which then closes the pipe
    gc.disable()  # the process is short-lived
    requests = FileIO(0)
    line = requests.readline()
    if not line:
        return
    threading.Thread(target=_end_with_worker, args=(requests,), daemon=True).start()
    resolver = Resolver(msgspec.json.decode(line, type=Subject))
    for question in questions:
        sys.stdout.buffer.write(msgspec.json.encode(reply(resolver, question)) + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)  # an orderly shutdown would be a fifth of the time


def _end_with_worker(requests: FileIO) -> None:
    """End this process when the worker ends, or closes the pipe."""
    requests.read(1)
    os._exit(0)


if __name__ == "__main__":
    main(cast("list[Question]", sys.argv[1:]))
