"""The choice of a Bedrock, and the environment of its programs."""

import os
from collections.abc import Callable
from pathlib import Path

import boto3
import botocore.session
import pytest
from botocore.utils import get_environ_proxies

from extproc.net import Address
from extproc.proxy import AUTHORIZATION_VARIABLE, Proxy
from extproc.stack.upstream import (
    Aws,
    Local,
    UpstreamError,
    aws_region,
    choose,
    envoy_environment,
    local_environment,
)

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
BEARER = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key"}
EMULATOR = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "http://127.0.0.1:4566"}

Environment = Callable[..., dict[str, str]]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Return a function that replaces AWS's environment, for botocore too."""

    def make(**variables: str) -> dict[str, str]:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        for name, value in {**nothing, "AWS_EC2_METADATA_DISABLED": "true", **variables}.items():
            monkeypatch.setenv(name, value)
        return dict(os.environ)

    return make


@pytest.mark.parametrize(("aws_variables", "source"), [(KEYS, "env"), (BEARER, "AWS_BEARER_TOKEN_BEDROCK")])
def test_credentials_lead_to_aws(environment: Environment, aws_variables: dict[str, str], source: str) -> None:
    upstream = choose("auto", "eu-west-1", environment(**aws_variables))
    assert isinstance(upstream, Aws)
    assert str(upstream) == f"https://bedrock-runtime.eu-west-1.amazonaws.com (AWS, credentials from {source})"


def test_a_profile_counts(environment: Environment, tmp_path: os.PathLike[str]) -> None:
    file = os.path.join(tmp_path, "credentials")
    with open(file, "w") as credentials:
        credentials.write("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    upstream = choose("auto", "eu-west-1", environment(AWS_SHARED_CREDENTIALS_FILE=file, AWS_PROFILE="team"))
    assert str(upstream).endswith("(AWS, credentials from shared-credentials-file)")


SSO = """[profile work]
sso_session = company
sso_account_id = 123456789012
sso_role_name = dev
[sso-session company]
sso_region = eu-west-1
sso_start_url = https://company.awsapps.com/start
"""


def test_an_sso_session_that_has_ended_is_named_with_the_login(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(SSO)
    variables = environment(AWS_CONFIG_FILE=str(tmp_path / "config"), AWS_PROFILE="work", HOME=str(tmp_path))
    upstream = choose("auto", "eu-west-1", variables)
    assert isinstance(upstream, Aws)
    assert "AWS, no valid credentials from sso: run aws sso login --profile work" in str(upstream)


@pytest.mark.parametrize(
    "command",
    ["/nowhere/credentials", "", "false", "echo no JSON", "echo {}", "'", "/dev/null", "sh -c 'kill -9 $$'"],
)
def test_a_credential_process_that_fails_is_one_line(environment: Environment, tmp_path: Path, command: str) -> None:
    (tmp_path / "config").write_text(f"[profile work]\ncredential_process = {command}\n")
    variables = environment(AWS_CONFIG_FILE=str(tmp_path / "config"), AWS_PROFILE="work")
    try:
        words = str(choose("auto", "eu-west-1", variables))
    except UpstreamError as error:
        words = str(error)
        assert "AWS's settings cannot be used" in words
        assert "--upstream local" in words
    else:
        assert "no valid credentials" in words or "no AWS credentials found" in words
    assert "\n" not in words
    assert "Traceback" not in words


def test_without_credentials_it_is_local(environment: Environment) -> None:
    upstream = choose("auto", None, environment())
    assert str(upstream) == "local Bedrock (no AWS credentials found)"
    assert upstream.region == "us-east-1"


def test_the_upstream_is_local_on_request(environment: Environment) -> None:
    upstream = choose("local", None, environment(**KEYS, **EMULATOR, AWS_REGION="eu-central-1"))
    assert str(upstream) == "local Bedrock (asked for)"
    assert upstream.region == "eu-central-1"


def test_the_files_region_counts_for_more(environment: Environment) -> None:
    variables = environment(**KEYS, AWS_REGION="eu-central-1")
    assert choose("local", "eu-west-1", variables).region == "eu-west-1"
    assert choose("aws", "eu-west-1", variables).region == "eu-west-1"
    assert choose("aws", None, variables).region == "eu-central-1"


def test_each_run_has_keys_of_its_own(environment: Environment) -> None:
    one, two = (choose("local", None, environment()) for _ in range(2))
    assert isinstance(one, Local)
    assert isinstance(two, Local)
    assert one.secret_key != two.secret_key


def test_an_emulator_is_aws(environment: Environment) -> None:
    upstream = choose("auto", "us-east-1", environment(**KEYS, **EMULATOR))
    assert str(upstream).startswith("http://127.0.0.1:4566 (AWS")


@pytest.mark.parametrize(
    ("mode", "variables", "words"),
    [
        ("auto", EMULATOR, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME is set, but there are no AWS credentials"),
        ("auto", {"AWS_ENDPOINT_URL": "http://x"}, "AWS_ENDPOINT_URL is set"),
        ("aws", {}, "no AWS credentials found"),
        ("auto", {"AWS_PROFILE": "nobody"}, "nobody"),
        ("auto", KEYS, "no AWS region"),
        ("auto", {**KEYS, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "x"}, "Invalid endpoint"),
    ],
)
def test_where_there_is_none(environment: Environment, mode: str, variables: dict[str, str], words: str) -> None:
    with pytest.raises(UpstreamError, match=words):
        choose(mode, None, environment(**variables))  # type: ignore[arg-type]


def test_a_broken_profile_names_no_region(environment: Environment) -> None:
    assert aws_region(environment(AWS_PROFILE="nobody")) is None


def test_nothing_of_the_users_reaches_the_local_bedrock(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    """With this environment botocore itself resolves the made-up keys and the local endpoint."""
    file = os.path.join(tmp_path, "config")
    with open(file, "w") as config:
        config.write(
            "[profile team]\nregion = sa-east-1\nendpoint_url = http://elsewhere\naws_access_key_id = theirs\n"
        )
    theirs = environment(
        **KEYS, **BEARER, **EMULATOR, AWS_PROFILE="team", AWS_CONFIG_FILE=file, AWS_SESSION_TOKEN="theirs",
        AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="true", AWS_USE_FIPS_ENDPOINT="true", AWS_ROLE_ARN="arn:theirs",
    )  # fmt: skip
    local = choose("local", "us-east-1", theirs)
    assert isinstance(local, Local)
    for name, value in environment(**local_environment(theirs, local, "http://127.0.0.1:9")).items():
        monkeypatch.setenv(name, value)
    credentials = botocore.session.get_session().get_credentials()
    assert credentials is not None
    keys = credentials.get_frozen_credentials()
    assert (keys.access_key, keys.secret_key, keys.token) == (local.access_key, local.secret_key, None)
    for service in ("bedrock-runtime", "bedrock"):
        client = boto3.Session().client(service, region_name=os.environ["AWS_REGION"])  # type: ignore[call-overload]
        assert client.meta.endpoint_url == "http://127.0.0.1:9"
        assert client.meta.region_name == "us-east-1"
    assert "AWS_BEARER_TOKEN_BEDROCK" not in local_environment(theirs, local, "http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://[::1]:9000"])
@pytest.mark.parametrize(
    "exempt", [{}, {"NO_PROXY": "*"}, {"no_proxy": "*"}, {"NO_PROXY": "example.com"}, {"NO_PROXY": "a", "no_proxy": ""}]
)
def test_the_local_bedrock_has_no_proxy_and_images_keep_theirs(
    monkeypatch: pytest.MonkeyPatch, url: str, exempt: dict[str, str]
) -> None:
    """botocore is the oracle."""
    local = Local(region="us-east-1", access_key="a", secret_key="b", reason="asked for")
    theirs = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1", **exempt}
    ours = local_environment(theirs, local, url)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert get_environ_proxies(url) == {}
    assert bool(get_environ_proxies("https://images.example")) == ("*" not in exempt.values())
    assert bool(get_environ_proxies("https://example.com")) == (not {"*", "example.com"} & {*exempt.values()})


def test_without_a_proxy_nothing_is_exempt() -> None:
    local = Local(region="us-east-1", access_key="a", secret_key="b", reason="asked for")
    assert "no_proxy" not in local_environment({"HOME": "/"}, local, "http://127.0.0.1:9000")


def test_envoy_has_the_password_of_the_proxy_and_not_its_url() -> None:
    theirs = {"PATH": "/bin", "HTTPS_PROXY": "http://u:p@proxy.example:3128"}
    assert envoy_environment(theirs) == {"PATH": "/bin"}
    assert envoy_environment(theirs, Proxy(Address("proxy.example", 3128))) == {"PATH": "/bin"}
    proxy = Proxy(Address("proxy.example", 3128), "Basic dTpw")
    assert envoy_environment(theirs, proxy) == {"PATH": "/bin", AUTHORIZATION_VARIABLE: "Basic dTpw"}
