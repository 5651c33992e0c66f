"""Ways in which programs replace certificates, and callers that see which one is served."""

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from openai import OpenAI

from tests.certificates import MountedSecret, Pair

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0


# Ways in which certificates are replaced


class WrittenOver:
    """Files that are written over, one after the other, as `cp` does."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self.folder = folder
        folder.mkdir()
        self.write(files)

    def write(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (self.folder / name).write_bytes(content)


class Moved(WrittenOver):
    """Files that others are moved over."""

    def write(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            draft = self.folder / f"{name}.new"
            draft.write_bytes(content)
            draft.rename(self.folder / name)


class Certbot(WrittenOver):
    """`live/NAME` with links into `archive/NAME`, which certbot (storage.py) removes and makes again."""

    versions = 0

    def write(self, files: dict[str, bytes]) -> None:
        self.versions += 1
        archive = self.folder.parent / f"archive-{self.folder.name}"
        archive.mkdir(exist_ok=True)
        for name, content in files.items():
            version, link = archive / f"{name}{self.versions}", self.folder / name
            version.write_bytes(content)
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", archive.name, version.name))


WAYS = [MountedSecret, WrittenOver, Moved, Certbot]


class Caller:
    """A client that trusts an authority, and shows a certificate if it has one."""

    def __init__(
        self, url: str, token: str, trusted: bytes, pair: Pair | None = None, folder: Path | None = None
    ) -> None:
        self.url = url
        self.port = int(re.search(r":(\d+)", url.removeprefix("https:"))[1])  # type: ignore[index]
        self._token = token
        self._context = ssl.create_default_context(cadata=trusted.decode())
        if pair is not None and folder is not None:
            (folder / "caller.pem").write_bytes(pair.certificate + pair.key)
            self._context.load_cert_chain(folder / "caller.pem")

    def certificate(self) -> bytes:
        """The certificate that a new connection gets, as PEM."""
        return ssl.DER_cert_to_PEM_cert(self._connect()[0]).encode()

    def protocol(self, *offered: str) -> str | None:
        """The protocol that a new connection agrees on."""
        return self._connect(*offered)[1]

    def _connect(self, *offered: str) -> tuple[bytes, str | None]:
        if offered:
            self._context.set_alpn_protocols([*offered])
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as raw,
            self._context.wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate, connection.selected_alpn_protocol()

    @contextlib.contextmanager
    def client(self, **more: Any) -> Iterator[OpenAI]:
        http = httpx.Client(verify=self._context, trust_env=False, **more)
        with OpenAI(
            base_url=self.url, api_key=self._token, max_retries=0, timeout=DEADLINE, http_client=http
        ) as client:
            yield client

    def call(self, **more: Any) -> None:
        with self.client(**more) as client:
            response = client.chat.completions.create(model=NOVA, messages=question("Hello!"))
        assert "Hello!" in (response.choices[0].message.content or "")


def question(text: str) -> Any:
    return [{"role": "user", "content": text}]
