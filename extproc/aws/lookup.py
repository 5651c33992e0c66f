"""A lookup in AWS: a process that runs AWS's own code, prints the results, and ends.

botocore would take half of a worker's memory, for a few questions: the endpoints and the list of models once an hour,
the credentials when they expire. So the worker starts `python -m extproc.aws.sdk`, with the same environment. The
region goes in as a line of JSON; each result comes out as one. Other lines, such as a warning or a traceback,
go to the log.

Invariant: a result is AWS's and arrives within `SECONDS`, or an exception names the remedy. The process never outlives
the one that started it: it ends when its standard input is closed.

Decisions: docs/decisions.md, D8, D243.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from extproc.aws.catalogue_keeper import ListingDeniedError, ListingError
from extproc.aws.credentials import NoCredentialsError, ResolvedCredentials
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.credentials import Credentials
from extproc.bedrock.endpoints import Endpoint, EndpointError, Endpoints
from extproc.bedrock.listing import Listing
from extproc.bedrock.seed import catalogue_of
from extproc.config.roles import RoleSettings

log = logging.getLogger(__name__)

Question = Literal["endpoints", "identity", "models", "role", "table"]


SECONDS: Mapping[Question, float] = {"endpoints": 30.0, "identity": 120.0, "models": 300.0, "role": 60.0, "table": 30.0}
"""Timeout of each question, in seconds; AWS's code may use the network, or run a credential process."""

ROLE_MODELS_SECONDS = 30.0
"""Timeout of a role's list of models, in seconds: others wait for its turn, and there is another list."""

_HINTS: Mapping[Question, str] = {
    "endpoints": "is the file system of AWS's settings slow?",
    "identity": "does a `credential_process` of the profile hang?",
    "models": "does the network drop what goes to Bedrock's control plane?",
    "role": "does the network drop what goes to STS, or does a `credential_process` of the profile hang?",
    "table": "is the file system of AWS's settings slow?",
}


class AwsLookupError(Exception):
    """The process could not be started, or has not responded."""


class Problem(msgspec.Struct, frozen=True):
    """The failure of a question: AWS's code or the exception's name, a message, and the IAM actions that are denied."""

    kind: str
    message: str
    actions: tuple[str, ...] = ()


class LookupReply(msgspec.Struct, frozen=True):
    """A line of the process: the question, and its result or its problem."""

    question: Question
    result: msgspec.Raw = msgspec.Raw(b"null")
    problem: Problem | None = None


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the questions are about: a region, None for that of AWS's settings, and other regions with endpoints.

    `role` is the role to assume. With `keys`, the models are those that they may list.
    """

    region: str | None = None
    elsewhere: tuple[str, ...] = ()
    role: RoleSettings | None = None
    keys: Credentials | None = None


class AwsLookup:
    """A process that handles `questions` in their order."""

    def __init__(self, *questions: Question) -> None:
        """Start it; it waits for `set_region`. Raises `AwsLookupError`."""
        command = [sys.executable, "-P", "-m", "extproc.aws.sdk", *questions]
        pipe = subprocess.PIPE
        try:
            # A session of its own, so that a credential process, which it may start, can be ended with it.
            self._process = subprocess.Popen(  # noqa: S603 - ours
                command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0, start_new_session=True
            )
        except OSError as error:
            raise AwsLookupError(f"AWS cannot be asked: no process could be started for that ({error})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._rest = b""
        self._last = questions[-1]

    def set_region(self, region: str | None, elsewhere: Sequence[str] = ()) -> None:
        """Send the region, and others whose endpoints are wanted; None is the region of AWS's settings."""
        self.send(Subject(region or None, tuple(elsewhere)))

    def send(self, subject: Subject) -> None:
        """Send what the questions are about."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `ask` reports
            self._in.write(msgspec.json.encode(subject) + b"\n")
            self._in.flush()

    def ask(self, question: Question, seconds: float | None = None) -> LookupReply:
        """Wait for the reply to a question, skipping earlier ones. The last reply ends it.

        Raises `AwsLookupError`, also after `seconds`; None is the question's timeout.
        """
        for line in self._lines(question, SECONDS[question] if seconds is None else seconds):
            if not line.startswith(b"{"):
                log.warning("while AWS was asked: %s", line.decode(errors="replace").rstrip())
                continue
            try:
                reply = msgspec.json.decode(line, type=LookupReply)
            except msgspec.DecodeError:  # it was cut off; its text, which may be a secret, must reach no log
                break
            if reply.question == question:
                if question == self._last:
                    self._end()
                return reply
        code = self._end()
        raise AwsLookupError(f"AWS could not be asked: the process for that ended with {code}, see the lines before")

    def _lines(self, question: Question, seconds: float) -> Iterator[bytes]:
        """Yield the lines of its output until it ends; raises `AwsLookupError` after `seconds`."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                yield line
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                self._kill()
                raise AwsLookupError(
                    f"AWS's code has not returned the {question} within {seconds:g} s: {_HINTS[question]}"
                )
            chunk = os.read(self._out.fileno(), 65536)
            if not chunk:
                return
            self._rest += chunk

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._end()

    def _end(self) -> int:
        """Wait for its end; return its exit code."""
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()
        return self._process.wait()


class AwsLookups:
    """The lookups of a worker. The first process handles every question, and starts before the region is known."""

    def __init__(self) -> None:
        """Start the first process. Raises `AwsLookupError`."""
        self._first = AwsLookup("endpoints", "identity", "models")
        self._pending: set[Question] = {"endpoints", "identity", "models"}
        self._region: str | None = None

    def set_region(self, region: str | None, elsewhere: Sequence[str] = ()) -> None:
        """Send the region, which the first process waits for, and others; None is the region of AWS's settings."""
        self._first.set_region(region, elsewhere)

    def endpoints(self) -> Endpoints:
        """Return Bedrock's endpoints; to be called first, and once. Raises `EndpointError`."""
        try:
            reply = self._ask("endpoints", None)
        except AwsLookupError as error:
            raise EndpointError(str(error)) from error
        if reply.problem:
            raise EndpointError(reply.problem.message)
        endpoints = msgspec.json.decode(reply.result, type=Endpoints)
        self._region = endpoints.region
        return endpoints

    def identity(self) -> ResolvedCredentials | None:
        """Run AWS's credential chain; return None where nothing is configured. Raises `NoCredentialsError`."""
        try:
            reply = self._ask("identity", self._region)
        except AwsLookupError as error:
            raise NoCredentialsError(str(error)) from error
        if reply.problem:
            raise NoCredentialsError(reply.problem.message)
        return msgspec.json.decode(reply.result, type=ResolvedCredentials | None)

    def catalogue(self, region: str) -> Catalogue:
        """List the models of `region`. Raises `ListingDeniedError`, `ListingError` or `AwsLookupError`."""
        return _catalogue(self._ask("models", region))

    def assume(self, region: str, role: RoleSettings) -> ResolvedCredentials:
        """Assume a role by STS in `region`. Raises `NoCredentialsError`."""
        try:
            lookup = AwsLookup("role")
            lookup.send(Subject(region, role=role))
            reply = lookup.ask("role")
        except AwsLookupError as error:
            raise NoCredentialsError(str(error)) from error
        if reply.problem:
            raise NoCredentialsError(reply.problem.message)
        return msgspec.json.decode(reply.result, type=ResolvedCredentials)

    def models_as(self, region: str, keys: Credentials) -> Catalogue:
        """List the models of `region` that the keys of a role may list, within `ROLE_MODELS_SECONDS`.

        Raises what `catalogue` raises.
        """
        lookup = AwsLookup("models")
        lookup.send(Subject(region, keys=keys))
        return _catalogue(lookup.ask("models", ROLE_MODELS_SECONDS))

    def table(self, region: str) -> Endpoint:
        """Return DynamoDB's endpoint in `region`. Blocks; raises `EndpointError`."""
        try:
            reply = self._ask("table", region)
        except AwsLookupError as error:
            raise EndpointError(str(error)) from error
        if reply.problem:
            raise EndpointError(reply.problem.message)
        return msgspec.json.decode(reply.result, type=Endpoint)

    def _ask(self, question: Question, region: str | None) -> LookupReply:
        """Ask the first process once for each question while it runs, later a new process each time."""
        if question in self._pending and region == self._region:
            self._pending.remove(question)
            try:
                return self._first.ask(question)
            except AwsLookupError:
                self._pending.clear()
                raise
        lookup = AwsLookup(question)
        lookup.set_region(region)
        return lookup.ask(question)


def _catalogue(reply: LookupReply) -> Catalogue:
    """Return the catalogue of a list of models. Raises `ListingDeniedError` or `ListingError`."""
    problem = reply.problem
    if problem is None:
        return catalogue_of(msgspec.json.decode(reply.result, type=Listing))
    raise ListingDeniedError(problem.actions) if problem.actions else ListingError(problem.kind, problem.message)
