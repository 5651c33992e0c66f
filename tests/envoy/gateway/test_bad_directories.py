"""Mistakes in tokens and organisations: named by `check`, by `up` and by a worker, and never wider access."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CONFIG, Gateway, Starter
from tests.envoy.conftest import Site

DENIED = "arn:aws:iam::333333333333:role/denied"

COMMANDS = {
    "check": (),
    "up": ("--listen", "127.0.0.1:0", "--upstream", "local"),
    "serve": ("--listen", "unix:worker.sock"),
}


def run(command: str, folder: Path, settings: Mapping[str, Any]) -> tuple[int, str]:
    """Run a command of `oai-extproc` with this gateway.yaml; return its exit code and its output."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-m", "extproc", command, "--config", "gateway.yaml", *COMMANDS[command]],
        cwd=folder,
        env={**clean, "AWS_EC2_METADATA_DISABLED": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def changed(**keys: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CONFIG), **keys}


def organisations(**acme: Any) -> dict[str, Any]:
    """Return the organisations of CONFIG, with keys of acme's."""
    return {**CONFIG["organisations"], "acme": acme}


def tokens(**first: Any) -> list[dict[str, Any]]:
    """Return the tokens of CONFIG, with changes of the first one."""
    return [{**CONFIG["tokens"][0], **first}, *CONFIG["tokens"][1:]]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a hash of two tokens": (
        {"tokens": tokens(sha256=CONFIG["tokens"][1]["sha256"])},
        "tokens[1].sha256: the same as in tokens[0]",
    ),
    "an organisation that there is not": (
        {"tokens": tokens(organisations=["acne"])},
        "tokens[0].organisations[0]: no organisation `acne` is declared",
    ),
    "a file and a table": (
        {"directory": {"dynamodb": {"table": "tenants"}}},
        "directory: the table `tenants` has the tokens and organisations, and this file has `organisations` as well",
    ),
    "a region that there is not": (
        {"organisations": organisations(region="eu-west-1")},
        "organisations.acme.region: `eu-west-1` is not in `regions`",
    ),
    "no role's ARN": (
        {"organisations": organisations(role={"arn": "acme"})},
        "organisations.acme.role.arn: expected the ARN of an IAM role",
    ),
}
"""The keys of a gateway.yaml with a mistake, and what its error has."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_named_and_nothing_starts(tmp_path: Path, command: str, mistake: str) -> None:
    keys, error = BAD[mistake]
    code, output = run(command, tmp_path, changed(**keys))
    assert code == 2, output
    assert "Traceback" not in output
    assert f"gateway.yaml: {error}" in output


def test_a_pattern_that_matches_nothing_is_named_at_start_and_in_check(start_gateway: Starter, tmp_path: Path) -> None:
    keys = {"organisations": organisations(models={"allow": ["amazn.*", "anthropic.*"]})}
    gateway = start_gateway(keys)
    words = "organisation 'acme' has the pattern `amazn.*` in `models.allow`, which no model of the built-in list"
    gateway.wait_for(re.escape(f"warning: {words}"))
    assert "`anthropic.*`" not in gateway.log()
    code, output = run("check", tmp_path, changed(**keys))
    assert code == 0
    assert words in output
    assert "`anthropic.*`" not in output


def test_a_worker_names_it_once_aws_has_listed_its_models(site: Site) -> None:
    """A worker of `up` leaves that to `up`, which says it for all of them."""
    rules = organisations(models={"allow": ["amazn.*", "anthropic.*"]})
    (site.folder / "gateway.yaml").write_text(yaml.safe_dump(changed(organisations=rules)))
    quiet = site.worker(f"unix:{site.folder}/w0.sock", "--patterns-told", name="quiet")
    worker = site.worker(f"unix:{site.folder}/w1.sock")
    words = "organisation 'acme' has the pattern `amazn.*` in `models.allow`, which no model matches: none of AWS's"
    worker.wait_for(re.escape(words))
    assert worker.log.read_text().count(words) == 1
    assert "`anthropic.*`" not in worker.log.read_text()
    assert "has the pattern" not in quiet.log.read_text()


def test_a_role_that_cannot_be_assumed_is_named_at_start(start_gateway: Starter) -> None:
    """Before anybody has called."""
    gateway = start_gateway({"organisations": organisations(role={"arn": DENIED})})
    gateway.wait_for(f"the role {DENIED} cannot be assumed: .*AccessDenied")


def test_an_organisation_that_a_reload_takes_away_is_a_rejection(
    start_gateway: Starter, client_of: Callable[[Gateway], Any]
) -> None:
    """A file whose tokens name it still is not taken over; one without it rejects its callers, and widens nobody's."""
    gateway = start_gateway()
    client = client_of(gateway)

    def models(organisation: str) -> Any:
        return client.exchange("GET", "/oai/v1/models", token="both", headers=[("openai-organization", organisation)])

    def reload(settings: dict[str, Any], words: str) -> None:
        since = len(gateway.log())
        draft = gateway.folder / "draft"
        draft.write_text(yaml.safe_dump(settings))
        draft.replace(gateway.config_path)
        gateway.wait_for(words, since)

    left = {name: own for name, own in CONFIG["organisations"].items() if name != "umbrella"}
    reload(changed(organisations=left), "no organisation `umbrella` is declared under `organisations`")
    assert models("umbrella").status == 200, "the last file that was whole is in force"

    those = [
        {**each, "organisations": [name for name in each.get("organisations", []) if name in left]}
        for each in CONFIG["tokens"]
    ]
    reload(changed(organisations=left, tokens=those), "gateway.yaml has changed")
    rejected = models("umbrella")
    assert (rejected.status, rejected.error["code"]) == (403, "organisation_not_allowed")
    assert models("acme").headers["openai-organization"] == "acme"

    those = [each for each in those if each["name"] != "both"]
    reload(changed(organisations=left, tokens=those), "gateway.yaml has changed")
    assert models("acme").status == 401
