"""gateway.yaml while it changes: each change is reported once, and a broken file changes nothing."""

import asyncio
import logging
import os

import pytest

from extproc.config import ConfigError
from extproc.worker import reload
from extproc.worker.last_good import LastGood
from extproc.worker.reload import SettingsFile, follow
from tests.unit.worker.looks import polled

ORGANISATIONS = "organisations: {acme: {}, globex: {}}\n"
ONE = ORGANISATIONS + "tokens: [{name: one, sha256: " + "a" * 64 + ", organisations: [acme]}]\n"
TWO = ORGANISATIONS + "tokens: [{name: two, sha256: " + "b" * 64 + ", organisations: [globex]}]\n"
BROKEN = "organisations: {acme: {modles: {}}}\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(ONE)
    return path


@pytest.fixture
def file(path):
    return SettingsFile(path)


def put(path, text):
    """Replace the file as careful writers do: a new one, moved over it."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def names(settings):
    return [token.name for token in settings.tokens]


def test_a_file_that_cannot_be_used_is_an_error_at_start(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        SettingsFile(tmp_path / "nowhere.yaml")


def test_nothing_changed(file):
    assert names(file.settings) == ["one"]
    assert polled(file) is None


@pytest.mark.parametrize("write", [put, lambda path, text: path.write_text(text)], ids=["replaced", "written over"])
def test_a_changed_file_is_reported_once(write, file, path):
    write(path, TWO + "# longer\n")
    assert names(polled(file)) == ["two"]
    assert names(file.settings) == ["two"]
    assert polled(file) is None


def test_a_file_that_is_still_being_written_is_not_taken_over(file, path):
    """The part that is there may be valid, and lack what narrows it."""
    path.write_text(ORGANISATIONS)
    assert file.poll() is None
    path.write_text(ORGANISATIONS + "# ")
    assert file.poll() is None
    path.write_text(TWO)
    assert file.poll() is None
    assert names(file.settings) == ["one"]
    assert names(file.poll()) == ["two"]


def test_a_file_that_is_touched_all_the_time_keeps_no_change_back(file, path):
    path.write_text(TWO)
    for number in range(reload.RESTLESS):
        os.utime(path, (number, number))
        assert file.poll() is None
    os.utime(path, (99, 99))
    assert names(file.poll()) == ["two"]


def test_a_change_long_after_a_restless_time_is_not_told_as_one(file, path, caplog):
    for number in range(2 * reload.RESTLESS):
        os.utime(path, (number, number))
        file.poll()
    for _ in range(3):
        assert file.poll() is None
    path.write_text(TWO)
    assert file.poll() is None
    assert names(file.poll()) == ["two"]
    assert not [record for record in caplog.records if "all the time" in record.message]


def test_a_redis_that_has_nothing_to_keep_any_more_is_no_missing_store(path, caplog):
    """It stays until a restart; there are no budgets that it could lack."""
    service = "rate_limits: {by: envoy, service: '127.0.0.1:8081'}\n"
    path.write_text(
        ONE + service + "redis: {url: 'redis://127.0.0.1:6379'}\nbudgets: {organisation: [{usd: '5', per: day}]}\n"
    )
    file = SettingsFile(path)
    path.write_text(ONE + service)
    assert polled(file) is not None
    assert not [record for record in caplog.records if "there are no budgets" in record.message]


def test_files_that_change_all_the_time_are_told_and_change_nothing(file, path, caplog):
    for number in range(2 * reload.RESTLESS):
        path.write_text(TWO + f"# {number}\n")
        os.utime(path, (number, number))
        assert file.poll() is None
    assert len([record for record in caplog.records if "all the time" in record.message]) == 1


def test_a_file_that_changes_while_it_is_read_is_read_again(file, path, monkeypatch):
    contents, later = reload.contents, [TWO + "# whole\n"]

    def read(where):
        text = contents(where)
        if later:
            path.write_text(later.pop())
        return text

    path.write_text(ORGANISATIONS)
    assert file.poll() is None
    monkeypatch.setattr(reload, "contents", read)
    assert file.poll() is None
    assert names(file.settings) == ["one"]
    assert names(polled(file)) == ["two"]


def test_the_same_size_at_another_time_is_a_change(file, path):
    path.write_text(ONE.replace("one", "two"))
    os.utime(path, ns=(1, 1))
    assert names(polled(file)) == ["two"]


def test_a_touched_file_has_not_changed(file, path):
    os.utime(path, ns=(1, 1))
    assert polled(file) is None


def test_kubernetes_swaps_a_folder_behind_a_symlink(tmp_path):
    for version, text in (("v1", ONE), ("v2", TWO)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "gateway.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    file = SettingsFile(tmp_path / "gateway.yaml")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert names(polled(file)) == ["two"]


def test_a_broken_file_changes_nothing_and_is_logged_once_with_the_keys_path(file, path, caplog):
    put(path, BROKEN)
    assert polled(file) is None
    assert polled(file) is None
    assert names(file.settings) == ["one"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "organisations.acme.modles" in record.getMessage()
    assert "stay" in record.getMessage()


def test_a_fixed_file_is_reported_even_if_it_equals_the_old_one(file, path):
    put(path, BROKEN)
    polled(file)
    put(path, ONE)
    assert names(polled(file)) == ["one"]


def test_a_file_that_is_gone_changes_nothing_and_may_come_back(file, path, caplog):
    path.unlink()
    assert polled(file) is None
    assert polled(file) is None
    assert len(caplog.records) == 1
    path.write_text(TWO)
    assert names(polled(file)) == ["two"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("region: eu-west-1", "region"),
        ("limits: {request_bytes: 2048}", "limits"),
        ("catalogue: {refresh_seconds: 1}", "catalogue"),
        ("workers: 7", "workers"),
        ("transport: grpcio", "transport"),
        ("trusted_hops: 1", "trusted_hops"),
        ("cors: {origins: ['*']}", "cors"),
        ("usage: {ledger: elsewhere.jsonl}", "usage"),
        ("embeddings: {seconds: 1, concurrency: 3}", "embeddings.seconds"),
        ("media: {deny: [203.0.113.0/24]}", "media.deny"),
        ("media: {deny: [203.0.113.0/24], seconds: 1}", "media.seconds"),
    ],
)
def test_settings_of_the_start_stay_and_the_log_reports_it(line, name, file, path, caplog):
    before = file.settings
    put(path, TWO + line)
    after = polled(file)
    assert names(after) == ["two"]
    for fixed in ("region", "limits", "catalogue", "workers", "cors", "transport", "trusted_hops"):
        assert getattr(after, fixed) == getattr(before, fixed)
    assert after.embeddings.seconds == before.embeddings.seconds
    assert [record.getMessage() for record in caplog.records if f"`{name}`" in record.getMessage()]


def test_a_file_of_budgets_may_be_named_later_once(file, path, caplog):
    put(path, ONE + "budgets: {sqlite: spent}")
    assert polled(file).budgets.sqlite == str(path.parent / "spent")
    assert "budgets.sqlite" not in caplog.text
    put(path, ONE + "budgets: {sqlite: another}")
    assert polled(file).budgets.sqlite == str(path.parent / "spent")
    assert "`budgets.sqlite` has changed" in caplog.text


def test_budgets_that_only_a_restart_can_count_are_not_taken_over(file, path, caplog):
    text = TWO + "redis: {url: redis://127.0.0.1}\nbudgets: {organisation: [{tokens: 5, per: day}]}"
    put(path, text)
    settings = polled(file)
    assert names(settings) == ["two"]
    assert not settings.budgets.any
    assert "budgets.sqlite: missing" in caplog.text
    assert "`redis` needs a restart, and until then there are no budgets" in caplog.text


LIMITS = "rate_limits: {organisation: {requests_per_minute: 5}, token: {requests_per_minute: 3}}\n"


def limited(limits, more=""):
    own = "limits: {tokens_per_minute: 7}" if limits else ""
    token = f"{{name: one, sha256: {'a' * 64}, organisations: [acme]{', limits: {concurrent_streams: 2}' * limits}}}"
    return f"organisations: {{acme: {{{own}}}{more}}}\ntokens: [{token}]\n{LIMITS if limits else ''}"


def test_limits_stay_until_somebody_else_counts(tmp_path, caplog):
    put(path := tmp_path / "gateway.yaml", limited(limits=True))
    file = SettingsFile(path)
    put(path, limited(limits=False, more=", umbrella: {}") + "rate_limits: {by: envoy, service: 'limits.test:8081'}\n")
    settings = polled(file)
    assert (settings.rate_limits.by, settings.rate_limits.organisation.requests_per_minute) == ("gateway", 5)
    assert settings.rate_limits.token.requests_per_minute == 3
    assert settings.organisations["acme"].limits.tokens_per_minute == 7
    assert settings.organisations["umbrella"].limits is None
    assert settings.tokens[0].limits.concurrent_streams == 2
    assert "until a restart, limits stay as they were" in caplog.text


def test_a_start_with_the_last_good_settings_has_the_same_limits_and_budgets(tmp_path):
    """Envoy runs with the configuration of then, and there is no store for what is new."""
    put(path := tmp_path / "gateway.yaml", limited(limits=True))
    SettingsFile(path, LastGood(tmp_path / "good"))
    more = "rate_limits: {by: envoy, service: 'limits.test:8081'}\nredis: {url: redis://127.0.0.1}\n"
    put(path, limited(limits=False) + more + "budgets: {organisation: [{tokens: 5, per: day}]}")
    settings = SettingsFile(path, LastGood(tmp_path / "good")).settings
    assert settings.organisations["acme"].limits.tokens_per_minute == 7
    assert settings.redis is None
    assert not settings.budgets.any


def test_other_settings_beside_it_are_changed(file, path):
    put(path, ONE + "embeddings: {concurrency: 3}\nstreaming: {keepalive_seconds: 2}\n")
    after = polled(file)
    assert after.embeddings.concurrency == 3
    assert after.streaming.keepalive_seconds == 2


class TestTokenFiles:
    """Files mounted by Kubernetes: gateway.yaml from a ConfigMap, tokens from a Secret."""

    @pytest.fixture
    def mounts(self, tmp_path):
        """Return a function that swaps a version of a mounted folder in, as the kubelet does: a new folder and link."""

        def mount(name, **files):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            version = folder / f"..{len(list(folder.iterdir()))}"
            version.mkdir()
            for file, text in files.items():
                (version / f"{file}.yaml").write_text(text)
                link = folder / f"{file}.yaml"
                if not link.is_symlink():
                    link.symlink_to(f"..data/{file}.yaml")
            (folder / "..data_tmp").symlink_to(version.name)
            (folder / "..data_tmp").rename(folder / "..data")

        return mount

    @pytest.fixture
    def file(self, mounts, tmp_path):
        mounts("config", gateway=ORGANISATIONS + "tokens_from: ../tokens\n")
        mounts("tokens", tokens=tokens("one", "a"))
        return SettingsFile(tmp_path / "config" / "gateway.yaml")

    def test_a_secret_is_swapped(self, file, mounts):
        assert names(file.settings) == ["one"]
        assert polled(file) is None
        mounts("tokens", tokens=tokens("two", "b"))
        assert names(polled(file)) == ["two"]
        assert polled(file) is None

    def test_a_config_map_is_swapped(self, file, mounts):
        mounts("config", gateway="organisations: {acme: {enabled: false}}\ntokens_from: ../tokens\n")
        after = polled(file)
        assert not after.organisations["acme"].enabled
        assert names(after) == ["one"]

    def test_a_secret_gets_one_more_file(self, file, mounts):
        mounts("tokens", tokens=tokens("one", "a"), more=tokens("two", "b"))
        assert names(polled(file)) == ["two", "one"]

    def test_a_token_waits_for_its_organisation(self, file, mounts, caplog):
        mounts("tokens", tokens=tokens("new", "b", "initech"))
        assert polled(file) is None
        assert polled(file) is None
        (record,) = caplog.records
        assert "no organisation `initech`" in record.getMessage()
        assert names(file.settings) == ["one"]
        mounts("config", gateway="organisations: {initech: {}}\ntokens_from: ../tokens\n")
        assert names(polled(file)) == ["new"]

    def test_a_broken_secret_changes_nothing_and_may_be_fixed(self, file, mounts, caplog):
        for _ in range(2):
            mounts("tokens", tokens="tokens: [")
            assert polled(file) is None
            assert polled(file) is None
        assert len(caplog.records) == 1
        mounts("tokens", tokens=tokens("one", "a"))
        assert names(polled(file)) == ["one"]

    def test_a_secret_that_is_gone_changes_nothing_and_may_come_back(self, file, mounts, tmp_path):
        (tmp_path / "tokens" / "..data").unlink()
        assert polled(file) is None
        assert names(file.settings) == ["one"]
        mounts("tokens", tokens=tokens("two", "b"))
        assert names(polled(file)) == ["two"]

    def test_the_place_of_the_tokens_may_change(self, file, mounts):
        mounts("config", gateway=ORGANISATIONS + "tokens_from: ../others\n")
        assert polled(file) is None
        mounts("others", tokens=tokens("two", "b"))
        assert names(polled(file)) == ["two"]
        mounts("others", tokens=tokens("three", "c"))
        assert names(polled(file)) == ["three"]


def tokens(name, digit, organisation="acme"):
    return f"tokens: [{{name: {name}, sha256: {digit * 64}, organisations: [{organisation}]}}]"


class TestFollowing:
    @pytest.fixture
    async def applied(self, file):
        """Return a queue of the applied settings; applying settings whose token is `bad` fails."""
        queue = asyncio.Queue()

        def apply(settings):
            queue.put_nowait(settings)
            if names(settings) == ["bad"]:
                raise ZeroDivisionError

        task = asyncio.create_task(follow(file, apply, interval=0.001))
        yield queue
        task.cancel()

    async def test_each_version_is_applied(self, applied, path):
        for text, name in ((TWO, "two"), (ONE, "one")):
            put(path, text)
            assert names(await applied.get()) == [name]

    async def test_a_version_that_cannot_be_prepared_yet_is_tried_again(self, file, path, caplog):
        applied, failures = asyncio.Queue(), [OSError("no network yet")] * 3

        async def prepare(settings):
            if failures:
                raise failures.pop()

        task = asyncio.create_task(follow(file, applied.put_nowait, interval=0.001, prepare=prepare))
        put(path, TWO)
        assert names(await applied.get()) == ["two"]
        task.cancel()
        assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]

    async def test_a_version_that_cannot_be_applied_is_not_the_last(self, applied, path, caplog):
        put(path, ONE.replace("name: one", "name: bad"))
        assert names(await applied.get()) == ["bad"]
        put(path, TWO)
        assert names(await applied.get()) == ["two"]
        assert caplog.records[0].exc_info[0] is ZeroDivisionError
