"""TLS of `up` towards callers, whose files change while it runs.

The operator's files are followed here, by polling (`extproc.worker.tls`), however they are replaced: written over,
moved, or swapped as links by a kubelet or by certbot. Envoy reads copies in the run directory, and only of versions
that can be used: the pair fits, it is valid now, and Envoy itself has loaded it, which takes fewer kinds of keys than
OpenSSL.

    tls/version-1/…       the copies, of which the last two versions are kept
    tls/current           a link to the version in force; Envoy watches `tls` for its replacement
    tls.yaml              the secret that names them

Invariant: `tls/current` leads to a version that Envoy can load, also when Envoy is started again.

Decision: docs/decisions.md, D151.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from pathlib import Path

from extproc import envoy_config
from extproc.envoy_config import CallersSecret, CallersTls
from extproc.stack.run_directory import Caretaker
from extproc.stack.supervisor import Report
from extproc.stack.upstream import envoy_environment
from extproc.transport.listen import ListenError, Tls
from extproc.worker.tls import TlsFiles, follow_tls

CHECK_SECONDS = 30.0
"""Timeout of Envoy's own check of a version."""

_CERTIFICATE, _KEY, _CLIENT_CA = "certificate.pem", "key.pem", "client-ca.pem"


class PublishedTls:
    """The copies below `caretaker.path`, of the files that `files` follows."""

    def __init__(self, files: TlsFiles, caretaker: Caretaker, envoy: Path) -> None:
        self._files = files
        self._caretaker = caretaker
        self._envoy = envoy
        self._folder = caretaker.path / "tls"
        self._current = self._folder / "current"
        self._count = 0
        self._in_force: Tls | None = None
        self._rejected: Tls | None = None
        self._reason = ""
        self._secrets: dict[CallersSecret, str] = {}

    @property
    def plan(self) -> CallersTls:
        """Return what Envoy's configuration needs to know."""
        return CallersTls(*self._paths(self._current), secrets=str(self._caretaker.path), watched=str(self._folder))

    async def start(self) -> None:
        """Publish the first version; raises `ListenError` if Envoy cannot use it."""
        kinds: tuple[CallersSecret, ...] = ("tls", "tls-client-ca") if self._files.paths.client_ca else ("tls",)
        self._secrets = await asyncio.to_thread(
            lambda: {kind: envoy_config.render_callers_secret(self.plan, kind) for kind in kinds}
        )
        await self.publish(self._files.current)

    async def publish(self, tls: Tls) -> None:
        """Have Envoy serve a version, once it has loaded it for a try; raises `ListenError` if it cannot.

        A version that it has rejected is not tried again, though it is offered at every poll.
        """
        if tls == self._rejected:
            raise self._error(self._reason)
        version = await asyncio.to_thread(self._write, tls)
        try:
            reason = await self._check(version)
        except BaseException:
            shutil.rmtree(version, ignore_errors=True)
            raise
        if reason:
            shutil.rmtree(version, ignore_errors=True)
            self._rejected, self._reason = tls, reason
            raise self._error(reason)
        self._switch_to(version)
        self._in_force = tls

    def restore(self) -> None:
        """Write again what was removed: before a start of Envoy."""
        names = filter(None, self._paths(self._current))
        if self._in_force is not None and not all(Path(name).exists() for name in names):
            self._switch_to(self._write(self._in_force))
        self._write_secrets()

    async def follow(self, report: Report) -> None:
        """Publish each new version that can be used, and report those that cannot, until cancelled."""
        await follow_tls(self._files, self.publish, log=_logger(report))

    def _paths(self, version: Path) -> tuple[str, str, str]:
        client_ca = str(version / _CLIENT_CA) if self._files.paths.client_ca else ""
        return str(version / _CERTIFICATE), str(version / _KEY), client_ca

    def _write(self, tls: Tls) -> Path:
        """Write a version that is not in force yet; return its folder."""
        self._write_secrets()
        self._count += 1
        version = self._folder / f"version-{self._count}"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        version.mkdir(mode=0o700)
        for name, content in ((_CERTIFICATE, tls.certificate), (_KEY, tls.key), (_CLIENT_CA, tls.client_ca)):
            if content is not None:
                with open(os.open(version / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
        return version

    def _write_secrets(self) -> None:
        """Write the secrets if they are gone, and the run directory with them."""
        for kind, text in self._secrets.items():
            self._caretaker.write(f"{kind}.yaml", text)

    def _switch_to(self, version: Path) -> None:
        """Put a version in force by moving a link, as Envoy expects it; the one before may still be read."""
        draft = self._folder / ".current"
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        draft.symlink_to(version.name)
        draft.replace(self._current)
        shutil.rmtree(self._folder / f"version-{self._count - 2}", ignore_errors=True)

    async def _check(self, version: Path) -> str:
        """Have Envoy load a version in a process of its own; return why it cannot. Raises `ListenError` if it hangs."""
        configuration = version / "check.yaml"
        tls = CallersTls(*self._paths(version))
        configuration.write_text(await asyncio.to_thread(envoy_config.render_tls_check, tls))
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await _rejection(self._envoy, configuration)
        except TimeoutError as error:
            raise self._error(f"it has not loaded them in {CHECK_SECONDS:g} seconds") from error

    def _error(self, reason: str) -> ListenError:
        paths = self._files.paths
        return ListenError(
            f"--tls: Envoy cannot use {paths.certificate} and {paths.key}: {reason}; it takes RSA keys of 2048 bits or "
            "more, and the curves P-256, P-384 and P-521: write a pair of those"
        )


async def _rejection(envoy: Path, configuration: Path) -> str:
    """Return why Envoy rejects a configuration, in its own words; empty if it does not."""
    command = (str(envoy), "--mode", "validate", "--disable-hot-restart", "--log-level", "error")
    process = await asyncio.create_subprocess_exec(
        *command,
        "-c",
        str(configuration),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=envoy_environment(os.environ),
    )
    try:
        _, output = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "" if process.returncode == 0 else _reason(output.decode(errors="replace"), configuration)


def _reason(output: str, configuration: Path) -> str:
    """Return the reason in Envoy's last log line, without the paths of our copies."""
    last = output.strip().rpartition("\n")[2]
    _, named, reason = last.partition(f"'{configuration}': ")
    return (reason if named else last).replace(f"{configuration.parent}/", "")


class _Reports(logging.Handler):
    """A handler that reports each line."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Report one line, and a traceback below it if there is one."""
        self._report(self.format(record))


def _logger(report: Report) -> logging.Logger:
    """Return a logger whose lines are reported, since `up` has no log of its own."""
    logger = logging.Logger("tls", logging.INFO)
    logger.addHandler(_Reports(report))
    return logger
