"""The TLS files of a worker on TCP, or of `up`: certificate chain, key and client authorities, while they change.

The files are polled every `INTERVAL_SECONDS`, as gateway.yaml is (`extproc.worker.reload`), and read once they are
the same in two polls in a row: a program that writes them one after the other is done by then. The new version is in
force for new connections; those that are open go on.

Invariant: the three files are taken over together or not at all. A pair that does not fit, a file that is missing, a
certificate that is not valid now: each leaves the version in force as it is, and one line per problem names the remedy.
At the start, when no version is in force, it is a `ListenError`.

Decisions: docs/decisions.md, D86, D87.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from extproc.config.sources import read_regular
from extproc.transport.listen import ListenError, Tls
from extproc.worker.certificate_validity import validity
from extproc.worker.file_stamp import Stamp, stamp

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """The files that `--tls` and `--tls-client-ca` name."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def look(self) -> tuple[Stamp | None, ...]:
        """Return the stamps of all of them."""
        return tuple(stamp(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)

    def read(self) -> Tls:
        """Return their contents, if they can be used; raises `ListenError`."""
        try:
            certificate, key = (read_regular(path) for path in (self.certificate, self.key))
            client_ca = read_regular(self.client_ca) if self.client_ca else None
        except OSError as error:
            raise ListenError(
                f"{error.filename}: {error.strerror}; --tls and --tls-client-ca name readable files"
            ) from error
        self._check()
        return Tls(certificate, key, client_ca)

    def _check(self) -> None:
        """Load the files as a server does, for the reason if it fails: gRPC reports none. Raises `ListenError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ListenError(
                f"--tls: {self.certificate} and {self.key} are no PEM certificate and its key: {error}; write both "
                "again, from one renewal and without a password"
            ) from error
        if self.client_ca is None:
            return
        try:
            context.load_verify_locations(self.client_ca)
        except OSError as error:
            raise ListenError(
                f"--tls-client-ca: {self.client_ca} has no PEM certificate: {error}; write the authorities of the "
                "clients' certificates"
            ) from error


class TlsFiles:
    """The TLS files of one worker: `current` is the version in force, `validity` that of its certificate."""

    def __init__(self, paths: TlsPaths, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Read the files for the first time; raises `ListenError`."""
        self.paths = paths
        self._now = now
        self._seen = self._taken = paths.look()
        self.current = self._read()
        self.validity = validity(self.current.certificate)
        self._warned = ""

    def poll(self) -> Tls | None:
        """Return the contents of the files, if those are not the version in force and were at rest since the last poll.

        Raises `ListenError`, at every poll until the files can be used.
        """
        seen, self._seen = self._seen, self.paths.look()
        if self._seen == self._taken or self._seen != seen:
            return None
        return self._read()

    def take(self, tls: Tls) -> None:
        """Regard `tls`, which the last poll returned, as the version in force."""
        self.current, self._taken = tls, self._seen
        self.validity = validity(tls.certificate)

    def warning(self) -> str:
        """Return a line for the operator when the certificate in force will expire soon, and when it has; once each."""
        now, line = self._now(), ""
        if self.validity.expired(now):
            line = "new connections fail"
        elif self.validity.ends_soon(now):
            line = "it has not been renewed, and less than a sixth of its time is left"
        if line:
            line = (
                f"{self.describe()}: {line}; write a new certificate and key there, they are taken over by themselves"
            )
        before, self._warned = self._warned, line
        return line if line != before else ""

    def describe(self) -> str:
        """Return the name of the certificate in force and its last moment."""
        return f"{self.paths.certificate} (not after {_text(self.validity.not_after)})"

    def _read(self) -> Tls:
        """Return the contents of the files, if they can be used now; raises `ListenError`."""
        tls, now = self.paths.read(), self._now()
        try:
            valid = validity(tls.certificate)
        except ValueError as error:
            raise ListenError(f"--tls: {self.paths.certificate}: {error}; write it again") from error
        if valid.expired(now):
            raise ListenError(f"--tls: {self.paths.certificate} expired at {_text(valid.not_after)}; renew it")
        if now < valid.not_before:
            raise ListenError(
                f"--tls: {self.paths.certificate} is not valid before {_text(valid.not_before)}; set this machine's "
                "clock, or wait"
            )
        return tls


def read_tls(listen: str, pair: tuple[Path, Path] | None, client_ca: Path | None) -> TlsFiles | None:
    """Return the files of `--tls` and `--tls-client-ca`, None without; raises `ListenError` if they cannot be used."""
    if pair is None:
        if client_ca is not None:
            raise ListenError("--tls-client-ca needs --tls: give both, or neither")
        return None
    if listen.startswith("unix:"):
        raise ListenError(f"--tls is for HOST:PORT, and {listen} is a socket, to which Envoy talks in plain text")
    return TlsFiles(TlsPaths(*pair, client_ca))


async def follow_tls(
    files: TlsFiles,
    renew: Callable[[Tls], Awaitable[None]],
    interval: float = INTERVAL_SECONDS,
    log: logging.Logger = log,
) -> None:
    """Give `renew` every new version of the files, until cancelled. A version that it rejects is not in force."""
    trouble = ""
    while True:
        try:
            await _renew_if_changed(files, renew, log)
            trouble = ""
        except Exception as error:  # a bug, too, is no reason to end the calls that there are
            if str(error) != trouble:
                known = isinstance(error, ListenError)
                log.error("%s; in force stays what was read of %s", error, files.describe(), exc_info=not known)
            trouble = str(error)
        if warning := files.warning():
            log.warning(warning)
        await asyncio.sleep(interval)


async def _renew_if_changed(files: TlsFiles, renew: Callable[[Tls], Awaitable[None]], log: logging.Logger) -> None:
    tls = await asyncio.to_thread(files.poll)
    if tls is None:
        return
    await renew(tls)
    files.take(tls)
    clients = f"; clients need a certificate of {files.paths.client_ca}" if files.paths.client_ca else ""
    log.info("TLS files have changed: new connections get %s%s", files.describe(), clients)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
