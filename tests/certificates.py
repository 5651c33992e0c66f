"""Certificates for tests, made by openssl, which are valid between any two moments."""

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

HOUR = timedelta(hours=1)

CONFIGURATION = """\
[ca]
default_ca = authority
[authority]
database = {folder}/issued.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any_name
[any_name]
commonName = supplied
"""


class Pair(NamedTuple):
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


def self_signed(folder: Path, name: str = "localhost", *more: str) -> Path:
    """Write a certificate for `name` (and `IP:…`) to cert.pem, its key to key.pem, and return the folder."""
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join((f'DNS:{name}', *more))}")
    command = ("openssl", "req", "-x509", *_new(folder / "key.pem"), *subject, "-out", folder / "cert.pem")
    subprocess.run([*map(str, command)], check=True, capture_output=True, timeout=60)
    return folder


class TimedAuthority:
    """A certificate authority in a folder of its own, which is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._file, self._key = folder / "ca.pem", folder / "ca-key.pem"
        name = f"/CN=authority {folder.name}"
        _run("req", "-x509", *_new(self._key), "-days", "2", "-subj", name, "-out", self._file)
        (folder / "issued.txt").touch()
        (folder / "ca.cnf").write_text(CONFIGURATION.format(folder=folder))
        self.certificate = self._file.read_bytes()

    def issue(
        self,
        name: str = "localhost",
        life: timedelta = HOUR,
        *,
        begins: timedelta = -HOUR,
        curve: str = "prime256v1",
    ) -> Pair:
        """Return a new certificate for `name` that ends `life` from now, and began an hour ago."""
        certificate, key, request, names = (self._folder / f"new.{kind}" for kind in ("pem", "key", "csr", "names"))
        names.write_text(f"subjectAltName=DNS:{name}\n")
        now = datetime.now(UTC)
        times = ("-startdate", _text(now + begins), "-enddate", _text(now + life))
        _run("req", *_new(key, curve), "-subj", f"/CN={name}", "-out", request)
        signer = ("-config", self._folder / "ca.cnf", "-cert", self._file, "-keyfile", self._key, "-extfile", names)
        _run("ca", "-batch", "-notext", *signer, *times, "-in", request, "-out", certificate)
        return Pair(certificate.read_bytes(), key.read_bytes())


class Authority:
    """A certificate authority that makes the TLS contexts of servers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca-key.pem"
        rsa = "-newkey", "rsa:2048", "-nodes", "-keyout", self._key  # Envoy takes no other for the key of an issuer
        _run("req", "-x509", *rsa, "-days", "2", "-subj", "/CN=authority", "-out", self.certificate)

    def certify(self, host: str, *others: str) -> ssl.SSLContext:
        """Return the TLS context of a server that this authority certifies under these names; the first names files."""
        certificate, key, request = (self._folder / f"{host}{ending}" for ending in (".pem", "-key.pem", ".csr"))
        names = self._folder / f"{host}.names"
        names.write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in (host, *others)))
        _run("req", *_new(key), "-subj", f"/CN={host}", "-out", request)
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", names)
        _run("x509", "-req", "-in", request, *signer, "-out", certificate)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        return context


def _run(*arguments: object) -> None:
    """Run openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: it makes the certificates")
    done = subprocess.run([openssl, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _new(key: Path, curve: str = "prime256v1") -> tuple[object, ...]:
    return "-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes", "-keyout", key


def _text(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")


class MountedSecret:
    """A folder as a kubelet mounts a Secret: its files are links into a folder of one version, which is swapped."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self.folder, self._versions = folder, 0
        folder.mkdir()
        self.write(files)
        for name in files:
            (folder / name).symlink_to(Path("..data") / name)

    def write(self, files: dict[str, bytes]) -> None:
        """Put another version in force, all files at once."""
        self._versions += 1
        version = self.folder / f"..version_{self._versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        former = (self.folder / "..data").resolve() if self._versions > 1 else None
        (self.folder / "..data_tmp").symlink_to(version.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        if former is not None:
            shutil.rmtree(former)
