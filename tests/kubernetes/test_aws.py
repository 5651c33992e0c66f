"""overlays/aws as the page has a reader copy and change it: changes under load, and the client tests."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOKENS
from tests.kubernetes import overlays as places
from tests.kubernetes import page
from tests.kubernetes.cluster import Namespace, until
from tests.kubernetes.conftest import everywhere, ready
from tests.kubernetes.figures import Figures
from tests.kubernetes.load import Load

GATEWAY = "oai-gateway"
CLIENT_TESTS = ("chat", "embeddings", "errors", "models", "streaming", "structured_output", "tools", "reasoning")


def test_pods_keep_to_the_restricted_standard(
    mine: tuple[Namespace, str], restricted: Callable[[Namespace], None]
) -> None:
    restricted(mine[0])


def test_the_token_that_the_page_makes_is_accepted(mine: tuple[Namespace, str]) -> None:
    namespace, made = mine
    assert everywhere(namespace, made) == {200}
    assert everywhere(namespace, "qc_" + "n" * 43) == {401}


def test_the_client_tests_pass(mine: tuple[Namespace, str], client_tests: Callable[..., None]) -> None:
    namespace, _ = mine
    url, bedrock = (f"http://{namespace.address(name)}" for name in (GATEWAY, "bedrock-local"))
    client_tests(f"{url}/oai/v1", bedrock, *CLIENT_TESTS)


# Under load


@pytest.fixture(scope="module")
def load(mine: tuple[Namespace, str]) -> Iterator[Load]:
    """Callers of the Service, with the token that the page makes."""
    namespace, made = mine
    until("two pods are ready", lambda: len(ready(namespace)) == 2)
    with Load(f"http://{namespace.address(GATEWAY)}/oai/v1", made) as load:
        yield load


@pytest.fixture
def lossless(load: Load, figures: Figures) -> Callable[[str, Callable[[], None]], None]:
    """Does something while callers call, and records the calls, of which none may be lost."""

    def do(name: str, something: Callable[[], None]) -> None:
        with load.phase() as phase:
            load.goes_on()
            something()
        assert phase.failures == {}
        figures.calls[name] = phase.calls

    return do


def test_a_pod_is_deleted(mine: tuple[Namespace, str], lossless: Any) -> None:
    namespace, _ = mine

    def delete() -> None:
        namespace.kubectl("delete", "pod", ready(namespace)[0]["metadata"]["name"])

    lossless("delete", delete)
    until("two pods are ready", lambda: len(ready(namespace)) == 2)


def test_the_deployment_is_restarted(mine: tuple[Namespace, str], root: Path, lossless: Any) -> None:
    namespace, _ = mine
    before = namespace.names(GATEWAY)
    (line,) = (line for line in page.every_command() if line.endswith("rollout restart deployment/oai-gateway"))

    def restart() -> None:
        page.run(line, root, namespace.name)
        namespace.rolled_out(GATEWAY)
        namespace.gone(GATEWAY, before)

    lossless("restart", restart)


def test_the_number_of_pods_is_changed(mine: tuple[Namespace, str], lossless: Any) -> None:
    namespace, _ = mine

    def scale() -> None:
        namespace.kubectl("scale", f"deployment/{GATEWAY}", "--replicas=3")
        namespace.rolled_out(GATEWAY)
        all_three = namespace.names(GATEWAY)
        namespace.kubectl("scale", f"deployment/{GATEWAY}", "--replicas=2")
        until("one of three pods has ended", lambda: len(all_three & namespace.names(GATEWAY)) == 2)

    lossless("scale", scale)


def changed(namespace: Namespace, name: str, text: str, root: Path) -> None:
    """Change a file of the reader's, and apply it by the page's command."""
    (namespace.folder / name).write_text(text)
    (apply,) = page.commands("Organisations and tokens")[:1]
    page.run(apply, root, namespace.name)


def in_force(figures: Figures, name: str, description: str, condition: Callable[[], bool]) -> None:
    """Wait for an effect, and record how long it took."""
    started = time.monotonic()
    until(description, condition)
    figures.seconds[name] = round(time.monotonic() - started)


def test_the_config_map_is_changed(mine: tuple[Namespace, str], root: Path, lossless: Any, figures: Figures) -> None:
    namespace, _ = mine
    assert everywhere(namespace, TOKENS["closed"]) == {403}

    def change() -> None:
        organisations = {"acme": {}, "umbrella": {}, "limited": {}, "closed": {"enabled": True}}
        changed(namespace, "gateway.yaml", places.settings(organisations=organisations), root)
        in_force(
            figures, "config", "the organisation is open", lambda: everywhere(namespace, TOKENS["closed"]) == {200}
        )

    lossless("config", change)


def test_callers_tokens_are_replaced(
    mine: tuple[Namespace, str], load: Load, root: Path, lossless: Any, figures: Figures
) -> None:
    """The new ones are added, callers go over to them, and the old one is taken away."""
    namespace, made = mine

    def replace() -> None:
        load.token = TOKENS["ci"]
        load.goes_on()
        changed(namespace, "tokens.yaml", places.tokens(), root)
        in_force(figures, "tokens", "the old token is rejected", lambda: everywhere(namespace, made) == {401})

    lossless("tokens", replace)


def test_aws_keys_are_replaced(mine: tuple[Namespace, str], root: Path, lossless: Any, figures: Figures) -> None:
    namespace, _ = mine
    bedrock = namespace.address("bedrock-local")
    assert signers(bedrock) == {places.OLD_KEY[0]}
    pods = [pod["metadata"]["name"] for pod in ready(namespace)]

    def taken_over() -> bool:
        return all("AWS credentials have changed" in namespace.log(pod, "extproc") for pod in pods)

    def replace() -> None:
        changed(namespace, "aws-credentials", places.credentials(places.NEW_KEY), root)
        in_force(figures, "keys", "the workers take over the new keys", taken_over)

    lossless("keys", replace)
    with urllib.request.urlopen(urllib.request.Request(f"http://{bedrock}/_local/calls", method="DELETE"), timeout=30):
        pass
    until("calls are signed", lambda: signers(bedrock))
    assert signers(bedrock) == {places.NEW_KEY[0]}


def signers(bedrock: str) -> set[str]:
    """Return the access key ids of the last calls for a model."""
    with urllib.request.urlopen(f"http://{bedrock}/_local/calls", timeout=30) as response:
        calls = json.load(response)
    return {call["access_key"] for call in calls if call["operation"].startswith("Converse")}
