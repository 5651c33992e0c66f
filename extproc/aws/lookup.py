"""A look at AWS: a process that runs AWS's own code, says what it found, and ends.

botocore would be half of a worker's memory, for the few questions that a worker has: where Bedrock is and which models
there are, once an hour; who we are, when credentials end. So it asks `python -m extproc.aws.sdk`, which has the
same environment. The region goes in as one line; each answer comes out as one line of JSON. What else that process
says, a warning or a traceback, goes to the log.

Invariant: an answer is AWS's and came within `SECONDS`, or an exception says what to do. The process never outlives
the one that started it: it ends when its standard input does.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from extproc.aws.credentials import Found, NoCredentialsError
from extproc.aws.listing import Listing, ListingDeniedError, ListingError
from extproc.bedrock.catalogue import Catalogue
from extproc.bedrock.endpoints import EndpointError, Endpoints
from extproc.bedrock.sigv4 import Credentials

log = logging.getLogger(__name__)

Question = Literal["endpoints", "identity", "models"]


SECONDS: Mapping[Question, float] = {"endpoints": 30.0, "identity": 120.0, "models": 300.0}
"""Timeout of a response from AWS's code, in seconds; it may ask the network, or run a credential process."""

_LIKELY: Mapping[Question, str] = {
    "endpoints": "is the file system of AWS's settings slow?",
    "identity": "does a `credential_process` of the profile hang?",
    "models": "does the network drop what goes to Bedrock's control plane?",
}


class AwsLookupError(Exception):
    """The process could not be started, or has not answered."""


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer: AWS's code or the exception's name, in words, and IAM actions that are not permitted."""

    kind: str
    message: str
    actions: tuple[str, ...] = ()


class Reply(msgspec.Struct, frozen=True):
    """A line: what was asked, and the answer or the problem."""

    question: Question
    answer: msgspec.Raw = msgspec.Raw(b"null")
    problem: Problem | None = None


class Keys(msgspec.Struct, frozen=True):
    """A `Found`, as it goes over the pipe."""

    access_key: str
    secret_key: str
    session_token: str | None
    origin: str
    expires: float | None


class AwsLookup:
    """One process, which answers `questions` in their order."""

    def __init__(self, *questions: Question) -> None:
        """Starts it; it waits for `tell`. Raises `AwsLookupError`."""
        command = [sys.executable, "-P", "-m", "extproc.aws.sdk", *questions]
        pipe = subprocess.PIPE
        try:
            # A session of its own, so that what it runs itself, a credential process, can be ended with it.
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

    def tell(self, region: str | None) -> None:
        """Where to look; None is the region of AWS's settings."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: `ask` says so
            self._in.write(f"{region or ''}\n".encode())
            self._in.flush()

    def ask(self, question: Question) -> Reply:
        """What it says to this; blocks. The last answer is its end. Raises `AwsLookupError`."""
        for line in self._lines(question):
            if not line.startswith(b"{"):
                log.warning("while AWS was asked: %s", line.decode(errors="replace").rstrip())
                continue
            try:
                reply = msgspec.json.decode(line, type=Reply)
            except msgspec.DecodeError:  # it was cut off; the rest, which may be a secret, is for no log
                break
            if reply.question == question:
                if question == self._last:
                    self._end()
                return reply
        code = self._end()
        raise AwsLookupError(f"AWS could not be asked: the process for that ended with {code}, see the lines before")

    def _lines(self, question: Question) -> Iterator[bytes]:
        """Yield the lines of its output until it ends; raises `AwsLookupError` once the question's time is over."""
        end = time.monotonic() + SECONDS[question]
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                yield line
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                self._kill()
                raise AwsLookupError(
                    f"AWS's code has not answered within {SECONDS[question]:g} s, asked for its {question}: "
                    f"{_LIKELY[question]}"
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
        """The exit code, once it has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._in.close()
        self._out.close()
        return self._process.wait()


class AwsLookups:
    """All that a worker asks AWS. The first look answers everything, and begins at once: before the region is known."""

    def __init__(self) -> None:
        """Raises `AwsLookupError`."""
        self._look = AwsLookup("endpoints", "identity", "models")
        self._waiting: set[Question] = {"endpoints", "identity", "models"}
        self._region: str | None = None

    def tell(self, region: str | None) -> None:
        """Where to look; None is the region of AWS's settings. It is waited for with all answers."""
        self._look.tell(region)

    def endpoints(self) -> Endpoints:
        """Where Bedrock is; to be asked first, and once. Raises `EndpointError`."""
        try:
            reply = self._ask("endpoints", None)
        except AwsLookupError as error:
            raise EndpointError(str(error)) from error
        if reply.problem:
            raise EndpointError(reply.problem.message)
        endpoints = msgspec.json.decode(reply.answer, type=Endpoints)
        self._region = endpoints.region
        return endpoints

    def identity(self) -> Found | None:
        """Who we are, by AWS's credential chain; None where nothing is set up. Raises `NoCredentialsError`."""
        try:
            reply = self._ask("identity", self._region)
        except AwsLookupError as error:
            raise NoCredentialsError(str(error)) from error
        if reply.problem:
            raise NoCredentialsError(reply.problem.message)
        keys = msgspec.json.decode(reply.answer, type=Keys | None)
        if keys is None:
            return None
        return Found(Credentials(keys.access_key, keys.secret_key, keys.session_token), keys.origin, keys.expires)

    def catalogue(self, region: str) -> Catalogue:
        """Which models there are in that region. Raises `ListingDeniedError`, `ListingError` or `AwsLookupError`."""
        reply = self._ask("models", region)
        problem = reply.problem
        if problem is None:
            return msgspec.json.decode(reply.answer, type=Listing).catalogue()
        raise ListingDeniedError(problem.actions) if problem.actions else ListingError(problem.kind, problem.message)

    def _ask(self, question: Question, region: str | None) -> Reply:
        """By the first look if it has not been asked this and goes on, else by one of its own."""
        if question in self._waiting:
            self._waiting.remove(question)
            try:
                return self._look.ask(question)
            except AwsLookupError:
                self._waiting.clear()
                raise
        lookup = AwsLookup(question)
        lookup.tell(region)
        return lookup.ask(question)
