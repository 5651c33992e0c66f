"""gateway.yaml while the gateway runs: what is changed for the better counts, and nothing else does."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

NEW = "qc_" + "n" * 43
KEEPS = "the settings that were in force stay"


@pytest.fixture(scope="module")
def running(start_shared: Any) -> Any:
    return start_shared()


@pytest.fixture
def config(running: Any, client_of: Any, eventually: Any) -> Iterator[dict[str, Any]]:
    """The configuration as a document; what it was before the test is in force again afterwards."""
    text = running.config_path.read_bytes()
    yield yaml.safe_load(text)
    replace(running.config_path, text)
    client = client_of(running)
    eventually(lambda: client.exchange("GET", "/oai/v1/models").status == 200)


def replace(path: Path, content: bytes | dict[str, Any]) -> None:
    """Put a new file in the place of the old, as careful writers do."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
    os.replace(draft, path)


def entry(name: str, token: str, *organisations: str) -> dict[str, Any]:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"name": name, "sha256": digest, "organisations": list(organisations)}


def status(client: Any, token: str) -> int:
    """Return the status that this very token gets."""
    headers = [("authorization", f"Bearer {token}")]
    return int(client.exchange("GET", "/oai/v1/models", headers=headers, token=None).status)


def test_a_token_that_is_added_works_and_one_that_is_removed_does_not(
    running: Any, config: dict[str, Any], client_of: Any, eventually: Any
) -> None:
    client = client_of(running)
    assert status(client, NEW) == 401
    config["tokens"] = [entry("new", NEW, "acme")]
    replace(running.config_path, config)
    eventually(lambda: status(client, NEW) == 200)
    assert client.exchange("GET", "/oai/v1/models").status == 401


def test_a_file_that_is_written_over_counts_too(
    running: Any, config: dict[str, Any], client_of: Any, eventually: Any
) -> None:
    config["tokens"].append(entry("new", NEW, "acme"))
    with running.config_path.open("r+b") as file:
        file.write(yaml.safe_dump(config).encode())
        file.truncate()
    eventually(lambda: status(client_of(running), NEW) == 200)


def test_an_organisations_models_change_while_it_calls(
    running: Any, config: dict[str, Any], client_of: Any, eventually: Any
) -> None:
    client = client_of(running)
    assert client.chat("Hello!", model="amazon.nova-lite-v1:0").status == 200
    config["organisations"]["acme"] = {"models": {"deny": ["*nova-lite*"]}}
    replace(running.config_path, config)
    eventually(lambda: client.chat("Hello!", model="amazon.nova-lite-v1:0").status == 404)
    assert client.chat("Hello!").status == 200


def test_a_stream_that_runs_is_not_disturbed(
    running: Any, config: dict[str, Any], client_of: Any, local_of: Any, eventually: Any
) -> None:
    client = client_of(running)
    with client.stream("Count to 9. [[local: hold]]") as stream:
        assert stream.delta()
        config["tokens"] = [entry("new", NEW, "acme")]
        replace(running.config_path, config)
        eventually(lambda: client.exchange("GET", "/oai/v1/models").status == 401)
        local_of(running.local_url).release()
        assert stream.rest()[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"organisations: {acme: {modles: {}}}", r"organisations\.acme\.modles: unknown key, did you mean `models`"),
        (b"tokens: [{name: x, sha256: abc}]", r"tokens\[0\]\.sha256: expected 64 hex digits"),
        (b"", r"is empty"),
        (b"\xff\xfe\x00", r"is not YAML"),
    ],
    ids=["unknown key", "bad value", "empty", "no text"],
)
def test_a_broken_file_is_logged_and_changes_nothing(
    running: Any, config: dict[str, Any], client_of: Any, content: bytes, message: str
) -> None:
    position = len(running.log())
    replace(running.config_path, content)
    running.wait_for(rf"gateway\.yaml: .*{message}.*; {KEEPS}", position)
    assert client_of(running).chat("Hello!").status == 200


def test_a_file_that_is_gone_is_logged_and_changes_nothing(
    running: Any, config: dict[str, Any], client_of: Any
) -> None:
    position = len(running.log())
    running.config_path.unlink()
    running.wait_for(rf"gateway\.yaml: No such file.*; {KEEPS}", position)
    assert client_of(running).chat("Hello!").status == 200


def test_settings_that_need_a_restart_are_logged_and_the_rest_apply(
    running: Any, config: dict[str, Any], client_of: Any, eventually: Any
) -> None:
    position = len(running.log())
    config.update(workers=2, limits={"request_bytes": 2048}, tokens=[*config["tokens"], entry("new", NEW, "acme")])
    replace(running.config_path, config)
    running.wait_for(r"`workers` has changed: that needs a restart", position)
    running.wait_for(r"`limits` has changed: that needs a restart", position)
    eventually(lambda: status(client_of(running), NEW) == 200)
    assert client_of(running).chat("x" * 5000).status == 200


def mount(folder: Path, name: str, document: object) -> Path:
    """A file in a mounted folder of Kubernetes': a new version beside the old, and a link that is swapped."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..version-{len(list(folder.iterdir()))}"
    version.mkdir()
    (version / name).write_text(yaml.safe_dump(document))
    if not (folder / name).is_symlink():
        (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").rename(folder / "..data")
    return folder / name


def test_organisations_of_a_config_map_and_tokens_of_a_secret(
    start_gateway: Any, client_of: Any, eventually: Any, tmp_path: Path
) -> None:
    mount(tmp_path / "tokens", "tokens.yaml", {"tokens": [entry("one", NEW, "acme")]})
    mounted = {"organisations": {"acme": {}}, "tokens": [], "tokens_from": "../tokens", "region": "us-east-1"}
    path = mount(tmp_path / "config", "gateway.yaml", mounted)
    running = start_gateway(args=["--config", str(path)])
    client, other = client_of(running), "qc_" + "o" * 43
    assert status(client, NEW) == 200
    mount(tmp_path / "tokens", "tokens.yaml", {"tokens": [entry("two", other, "acme")]})
    eventually(lambda: (status(client, other), status(client, NEW)) == (200, 401))
    mount(tmp_path / "config", "gateway.yaml", {**mounted, "organisations": {"acme": {"enabled": False}}})
    eventually(lambda: status(client, other) == 403)
