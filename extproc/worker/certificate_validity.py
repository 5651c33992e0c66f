"""The time in which a certificate is valid, read from its PEM: Python's ssl tells it of a verified peer's only.

A certificate (RFC 5280, 4.1) is a SEQUENCE whose first element, also a SEQUENCE, contains a version, the serial number,
the signature's algorithm, the issuer, and then the validity: a SEQUENCE of two times.

Invariant: whatever the bytes are, `validity` returns or raises `ValueError`.
"""

import binascii
import re
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END ", re.DOTALL)

_INTEGER, _UTC_TIME, _GENERALIZED_TIME, _SEQUENCE, _VERSION = 0x02, 0x17, 0x18, 0x30, 0xA0
"""Tags of DER; the version is optional and has a tag of its own."""

_WARNING_PART = 6
"""cert-manager renews when a third of the time is left, so a sixth is left only where that did not work."""


class Validity(NamedTuple):
    """The first and the last moment at which a certificate is valid."""

    not_before: datetime
    not_after: datetime

    def expired(self, now: datetime) -> bool:
        """Return whether the certificate is no longer valid."""
        return now > self.not_after

    def ends_soon(self, now: datetime) -> bool:
        """Return whether less than a sixth of the certificate's time is left."""
        return self.not_after - now < (self.not_after - self.not_before) / _WARNING_PART


def validity(pem: bytes) -> Validity:
    """Return the validity of the first certificate in `pem`; raises `ValueError`."""
    match = _PEM.search(pem)
    if match is None:
        raise ValueError("there is no PEM certificate")
    _, certificate, _ = _element(binascii.a2b_base64(match[1]), _SEQUENCE)
    _, fields, _ = _element(certificate, _SEQUENCE)
    tag, _, rest = _element(fields, _VERSION, _INTEGER)
    if tag == _VERSION:
        _, _, rest = _element(rest, _INTEGER)
    for _ in ("the signature's algorithm", "the issuer"):
        _, _, rest = _element(rest, _SEQUENCE)
    _, times, _ = _element(rest, _SEQUENCE)
    kind, begin, times = _element(times, _UTC_TIME, _GENERALIZED_TIME)
    not_before = _time(kind, begin)
    kind, end, _ = _element(times, _UTC_TIME, _GENERALIZED_TIME)
    return Validity(not_before, _time(kind, end))


def _element(data: bytes, *expected: int) -> tuple[int, bytes, bytes]:
    """Return the tag and the contents of the first DER element in `data`, and what follows it; raises `ValueError`."""
    if len(data) < 2 or data[0] not in expected:
        raise ValueError("this is no certificate")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("the certificate is cut off")
    return data[0], data[start : start + length], data[start + length :]


def _time(kind: int, text: bytes) -> datetime:
    """Decode a time; one with two digits for the year is from 1950 to 2049 (RFC 5280, 4.1.2.5.1)."""
    digits = text.decode("ascii")
    if kind == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
