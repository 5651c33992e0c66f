"""The rendering itself: JSON, YAML, and the typed messages."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from extproc import config
from extproc.config.jwt import JwtIssuer
from extproc.envoy_config import EnvoyPlan, render
from extproc.net import Address
from tests.unit.envoy_config.documents import AWS


def test_json_and_yaml_are_the_same_document() -> None:
    plan = EnvoyPlan(Address("0.0.0.0", 80), (Address(path="/w"),), AWS, config.Settings(), access_log=True)
    assert json.loads(render(plan, as_json=True)) == yaml.safe_load(render(plan))


def test_the_typed_messages_are_only_imported_to_render() -> None:
    code = "import sys, extproc.cli, extproc.stack.stack; print([n for n in sys.modules if n.startswith('envoy_data')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("word", ["y", "n", "Y", "N", "yes", "on", "12", "null", "~", "1e5", "0x1F"])
def test_a_text_stays_a_text_for_envoys_reader_of_yaml(word: str) -> None:
    issuer = JwtIssuer(word, (word, "api"), "https://a/keys", "org")
    plan = EnvoyPlan(Address("127.0.0.1", 8080), (Address(path="/run/w0.sock"),), AWS, config.Settings(jwt=(issuer,)))
    assert re.search(rf"issuer: '{re.escape(word)}'|issuer: 1e5", render(plan))
