"""The TLS files of a worker while they change: renewal, its time, and its log lines."""

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta

import pytest

from extproc.transport.listen import ListenError, Tls
from extproc.worker.certificate_validity import validity
from extproc.worker.tls import TlsFiles, TlsPaths, follow_tls, read_tls
from tests.certificates import HOUR, MountedSecret, TimedAuthority

NAMES = ("tls.crt", "tls.key", "ca.crt")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return TimedAuthority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def pairs(authority):
    return [authority.issue() for _ in range(3)]


@pytest.fixture
def paths(tmp_path, authority, pairs):
    paths = TlsPaths(*(tmp_path / name for name in NAMES))
    write(paths, pairs[0])
    paths.client_ca.write_bytes(authority.certificate)
    return paths


class WallClock:
    """A clock that a test sets."""

    def __init__(self):
        self.moment = datetime.now(UTC)

    def __call__(self):
        return self.moment


@pytest.fixture
def now():
    return WallClock()


@pytest.fixture
def files(paths, now):
    return TlsFiles(paths, now)


def write(paths, pair):
    paths.certificate.write_bytes(pair.certificate)
    paths.key.write_bytes(pair.key)


def polled(files):
    """Poll until the files have been at rest."""
    first = files.poll()
    assert first is None, "they may still be being written"
    return files.poll()


# The start


def test_files_read_at_the_start_are_in_force(files, authority, pairs):
    assert files.current == Tls(pairs[0].certificate, pairs[0].key, authority.certificate)
    assert polled(files) is None


def test_without_the_option_there_is_no_tls():
    assert read_tls("127.0.0.1:1", None, None) is None


def spoil_key(paths, pairs):
    paths.key.write_bytes(pairs[1].key)


def cut_certificate_off(paths, pairs):
    paths.certificate.write_bytes(pairs[1].certificate[:-100])
    paths.key.write_bytes(pairs[1].key)


def cut_key_off(paths, pairs):
    paths.key.write_bytes(pairs[0].key[:-60])


def empty_certificate(paths, pairs):
    paths.certificate.write_bytes(b"")


def remove_key(paths, pairs):
    paths.key.unlink()


def replace_key_by_a_pipe(paths, pairs):
    paths.key.unlink()
    os.mkfifo(paths.key)


def empty_authorities(paths, pairs):
    paths.client_ca.write_bytes(b"")


def remove_authorities(paths, pairs):
    paths.client_ca.unlink()


def key_as_authority(paths, pairs):
    paths.client_ca.write_bytes(pairs[0].key)


SPOILT = {
    spoil_key: "are no PEM certificate and its key",
    cut_certificate_off: "are no PEM certificate and its key",
    cut_key_off: "are no PEM certificate and its key",
    empty_certificate: "are no PEM certificate and its key",
    remove_key: "tls.key: No such file or directory; --tls",
    replace_key_by_a_pipe: "tls.key: Is a pipe",
    empty_authorities: "ca.crt has no PEM certificate",
    remove_authorities: "ca.crt: No such file or directory; --tls",
    key_as_authority: "ca.crt has no PEM certificate",
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.items(), ids=[spoil.__name__ for spoil in SPOILT])
def test_files_that_cannot_be_used_are_an_error_at_the_start(spoil, words, paths, pairs):
    spoil(paths, pairs)
    with pytest.raises(ListenError, match=words):
        TlsFiles(paths)


def test_so_is_a_certificate_that_has_expired(paths, now):
    now.moment += 2 * HOUR
    with pytest.raises(ListenError, match=r"tls\.crt expired at 20\d\d-.* UTC; renew it"):
        TlsFiles(paths, now)


def test_so_is_one_that_is_not_yet_valid(paths, now):
    now.moment -= 2 * HOUR
    with pytest.raises(ListenError, match=r"tls\.crt is not valid before 20\d\d-.*clock"):
        TlsFiles(paths, now)


# Changes


def test_a_new_pair_is_returned_until_it_is_taken(files, paths, pairs, authority):
    write(paths, pairs[1])
    new = polled(files)
    assert new == Tls(pairs[1].certificate, pairs[1].key, authority.certificate)
    assert files.current.certificate == pairs[0].certificate
    assert files.poll() == new
    files.take(new)
    assert files.current == new
    assert files.validity == validity(pairs[1].certificate)
    assert files.poll() is None


def test_files_that_are_being_written_are_not_read(files, paths, pairs):
    """The certificate is written first, then its key; the state between is no error."""
    assert files.poll() is None
    paths.certificate.write_bytes(pairs[1].certificate)
    assert files.poll() is None
    paths.key.write_bytes(pairs[1].key)
    assert files.poll() is None
    assert files.poll().key == pairs[1].key


def test_other_authorities_alone_are_a_change(files, paths, tmp_path):
    other = TimedAuthority(tmp_path / "other")
    paths.client_ca.write_bytes(other.certificate)
    assert polled(files).client_ca == other.certificate


@pytest.mark.parametrize(("spoil", "words"), SPOILT.items(), ids=[spoil.__name__ for spoil in SPOILT])
def test_spoilt_files_change_nothing_until_they_are_fixed(spoil, words, files, paths, pairs, authority):
    before = files.current
    spoil(paths, pairs)
    assert files.poll() is None
    for _ in range(2):
        with pytest.raises(ListenError, match=words):
            files.poll()
    assert files.current is before
    for path in (paths.certificate, paths.key, paths.client_ca):
        path.unlink(missing_ok=True)
    write(paths, pairs[2])
    paths.client_ca.write_bytes(authority.certificate)
    assert polled(files).certificate == pairs[2].certificate


def test_a_certificate_that_has_expired_changes_nothing(files, paths, authority):
    write(paths, authority.issue(life=-timedelta(seconds=5)))
    assert files.poll() is None
    with pytest.raises(ListenError, match="expired"):
        files.poll()


def test_one_for_later_is_taken_when_its_time_has_come(files, paths, authority, now):
    later = authority.issue(begins=HOUR, life=2 * HOUR)
    write(paths, later)
    assert files.poll() is None
    with pytest.raises(ListenError, match="not valid before"):
        files.poll()
    now.moment += HOUR + timedelta(minutes=1)
    assert files.poll().certificate == later.certificate


def test_a_secret_that_a_kubelet_swaps(tmp_path, authority, pairs):
    def version(pair):
        return dict(zip(NAMES, (*pair, authority.certificate), strict=True))

    secret = MountedSecret(tmp_path / "mounted", version(pairs[0]))
    files = TlsFiles(TlsPaths(*(secret.folder / name for name in NAMES)))
    for pair in pairs[1:]:
        secret.write(version(pair))
        new = polled(files)
        assert new == Tls(*pair, authority.certificate)
        files.take(new)


# Log lines


def test_the_end_is_announced_once_and_the_expiry_too(files, now):
    assert files.warning() == ""
    now.moment += timedelta(minutes=50)
    assert "tls.crt (not after 20" in (line := files.warning())
    assert "has not been renewed" in line
    assert files.warning() == ""
    now.moment += HOUR
    assert "new connections fail; write a new certificate and key there" in files.warning()
    assert files.warning() == ""


def test_a_new_certificate_ends_the_warning(files, paths, now, authority):
    now.moment += timedelta(minutes=50)
    assert files.warning()
    write(paths, authority.issue(life=9 * HOUR))
    files.take(polled(files))
    assert files.warning() == ""
    now.moment += 8 * HOUR
    assert files.warning()


class Following:
    """`follow_tls` without a pause, and the files that it has passed on."""

    def __init__(self, files):
        self.renewed = []
        self.rejects = None
        self.happened = asyncio.Event()
        self._task = asyncio.create_task(follow_tls(files, self.renew, 0.001))

    async def renew(self, tls):
        if self.rejects is not None:
            raise self.rejects
        self.renewed.append(tls)

    async def until(self, condition):
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - a log has no event for it
                await asyncio.sleep(0.001)

    def end(self):
        self._task.cancel()


@pytest.fixture
async def following(files, caplog):
    caplog.set_level(logging.INFO)
    following = Following(files)
    yield following
    following.end()


async def test_a_new_version_is_passed_on_and_logged_with_its_last_moment(following, files, paths, pairs, caplog):
    write(paths, pairs[1])
    await following.until(lambda: caplog.messages)
    assert [tls.certificate for tls in following.renewed] == [pairs[1].certificate]
    end = files.validity.not_after.strftime("%Y-%m-%d %H:%M:%S UTC")
    [line] = caplog.messages
    assert f"new connections get {paths.certificate} (not after {end})" in line
    assert f"clients need a certificate of {paths.client_ca}" in line


async def test_a_fault_is_logged_once_and_the_last_good_catalogue_stays(following, files, paths, pairs, caplog):
    before, polls = files.current, []
    files.poll = lambda poll=files.poll: polls.append(1) or poll()
    spoil_key(paths, pairs)
    await following.until(lambda: caplog.messages)
    polls.clear()
    await following.until(lambda: len(polls) > 5)
    [line] = caplog.messages
    assert "write both again" in line
    assert f"in force stays what was read of {paths.certificate} (not after 20" in line
    assert files.current is before
    write(paths, pairs[1])
    await following.until(lambda: following.renewed)


@pytest.mark.parametrize("error", [ListenError("gRPC cannot use it"), RuntimeError("a bug")])
async def test_files_that_the_server_rejects_are_tried_again(following, files, paths, pairs, caplog, error):
    before, following.rejects = files.current, error
    write(paths, pairs[1])
    await following.until(lambda: caplog.messages)
    assert caplog.messages[0].startswith(str(error))
    assert files.current is before
    following.rejects = None
    await following.until(lambda: files.current.certificate == pairs[1].certificate)


async def test_the_warning_is_logged(following, now, caplog):
    now.moment += timedelta(minutes=50)
    await following.until(lambda: caplog.messages)
    assert "has not been renewed" in caplog.messages[0]
