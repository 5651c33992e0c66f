"""The validity of a certificate, with Python's own decoder (which reads files, and is private) as the oracle."""

import contextlib
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.worker.certificate_validity import Validity, validity
from tests.certificates import TimedAuthority

DAY = timedelta(days=1)
YEAR = 365 * DAY


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimedAuthority(tmp_path_factory.mktemp("validity") / "authority")


def as_python_reads_it(pem, folder):
    path = folder / "certificate.pem"
    path.write_bytes(pem)
    fields = ssl._ssl._test_decode_cert(str(path))
    return tuple(
        datetime.fromtimestamp(ssl.cert_time_to_seconds(fields[name]), UTC) for name in ("notBefore", "notAfter")
    )


@pytest.mark.parametrize("begins", [-DAY, -40 * YEAR, DAY])
@pytest.mark.parametrize("life", [2 * DAY, 90 * YEAR])  # from 2050 on it is another type
def test_the_validity_equals_openssls(authority, tmp_path, begins, life):
    pem = authority.issue(begins=begins, life=life).certificate
    assert validity(pem) == as_python_reads_it(pem, tmp_path)


def test_of_a_chain_it_is_the_first_ones(authority, tmp_path):
    pem = authority.issue().certificate
    assert validity(b"Some words before.\n" + pem + authority.certificate) == as_python_reads_it(pem, tmp_path)


def test_of_a_certificate_of_version_1_too(tmp_path):
    """A certificate of version 1 has no version field."""
    nothing, key, certificate = (tmp_path / name for name in ("openssl.cnf", "key.pem", "version-1.pem"))
    nothing.write_text("[req]\ndistinguished_name = name\n[name]\n")
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", nothing, "-subj", "/CN=old"]
    subprocess.run([*new, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    printed = subprocess.run(["openssl", "x509", "-text", "-in", certificate], check=True, capture_output=True).stdout
    assert b"Version: 1 " in printed
    pem = certificate.read_bytes()
    assert validity(pem) == as_python_reads_it(pem, tmp_path)


@given(at=st.integers(0, 10_000), bits=st.integers(1, 255), cut=st.integers(0, 10_000))
def test_any_bytes_return_a_validity_or_raise_value_error(authority, at, bits, cut):
    der = bytearray(ssl.PEM_cert_to_DER_cert(authority.certificate.decode()))
    der[at % len(der)] ^= bits
    pem = ssl.DER_cert_to_PEM_cert(bytes(der[: 1 + cut % len(der)])).encode()
    with contextlib.suppress(ValueError):
        assert isinstance(validity(pem), Validity)


@pytest.mark.parametrize("pem", [b"", b"words", b"-----BEGIN CERTIFICATE-----\nM\n-----END CERTIFICATE-----"])
def test_a_text_that_is_no_certificate_is_a_value_error(pem):
    with pytest.raises(ValueError):
        validity(pem)


def test_its_end_is_near_when_a_sixth_is_left():
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    valid = Validity(begin, begin + 60 * DAY)
    assert [valid.ends_soon(begin + days * DAY) for days in (0, 40, 50, 51)] == [False, False, False, True]
    assert [valid.expired(begin + days * DAY) for days in (59, 60, 61)] == [False, False, True]
