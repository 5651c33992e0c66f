"""`python -m bedrock_local`: serve until SIGINT or SIGTERM."""

import asyncio
import math
import re
import signal
from collections.abc import Callable

import click
from aiohttp import web

from bedrock_local import shapes
from bedrock_local.app import create
from bedrock_local.models import Shelf
from bedrock_local.signature import Verifier
from bedrock_local.state import Local

#: Seconds that running responses get after the signal before they are cut.
_GRACE = 0.02

_REGION = re.compile(r"[a-z]+(-[a-z0-9]+)+")

_EXAMPLES = """\b
Point boto3, or anything else that speaks to AWS, at it:
  export AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://127.0.0.1:9000
  export AWS_ENDPOINT_URL_BEDROCK=http://127.0.0.1:9000
  export AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local-secret

\b
Show what arrived, and release held responses (docs/local-bedrock.md):
  curl http://127.0.0.1:9000/_local/calls
  curl -X POST http://127.0.0.1:9000/_local/release
"""


class _Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT; an IPv6 host is in brackets."""

    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Split the text into host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            self.fail(f"{value} is not HOST:PORT, for example 127.0.0.1:9000.", param, ctx)
        return host.strip("[]"), int(port)


class _KeyPair(click.ParamType[tuple[str, str]]):
    """ID:SECRET."""

    name = "id:secret"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Take the text apart."""
        if isinstance(value, tuple):
            return value
        key, _, secret = str(value).partition(":")
        if not key or not secret:
            self.fail("a key pair is ID:SECRET.", param, ctx)  # without the value, which may be a secret
        return key, secret


def _region(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the name of a region, such as `us-east-1`."""
    if not _REGION.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no AWS region, for example us-east-1.", ctx, param)
    return value


def _regions(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of regions."""
    return tuple(_region(ctx, param, region) for region in value)


def _seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Return a finite number of seconds."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number of seconds.", ctx, param)
    return value


@click.command(
    help="A local Bedrock: Converse, ConverseStream, InvokeModel for embeddings, and the lists of models. It speaks "
    "AWS's wire format, verifies every signature, and rejects what AWS would reject. There is no model behind it: it "
    'echoes, counts ("count to 5") and calls the tools that a text names.',
    epilog=_EXAMPLES,
)
@click.option("--listen", type=_Address(), default="127.0.0.1:9000", show_default=True, help="Port 0 picks a free one.")
@click.option(
    "--region",
    callback=_region,
    default="us-east-1",
    show_default=True,
    help="It determines the inference profiles.",
)
@click.option(
    "--more-regions",
    callback=_regions,
    multiple=True,
    help="Another region that it stands for as well, each with its own inference profiles; may be repeated.",
)
@click.option(
    "--access-key",
    envvar="BEDROCK_LOCAL_ACCESS_KEY",
    default="local",
    show_default=True,
    show_envvar=True,
    help="The accepted access key id.",
)
@click.option(
    "--secret-key",
    envvar="BEDROCK_LOCAL_SECRET_KEY",
    default="local-secret",
    show_default=True,
    show_envvar=True,
    help="Its secret key. Every user of the machine can read a command line; the variable stays private.",
)
@click.option(
    "--more-keys",
    envvar="BEDROCK_LOCAL_MORE_KEYS",
    type=_KeyPair(),
    multiple=True,
    show_envvar=True,
    help="ID:SECRET of another key pair that may call, as while keys are rotated; several in the variable have blanks "
    "between them.",
)
@click.option(
    "--bearer",
    envvar="BEDROCK_LOCAL_BEARER",
    default=None,
    show_envvar=True,
    help="An API key that is accepted too, as `Authorization: Bearer …`.",
)
@click.option(
    "--pace",
    type=click.FloatRange(0),
    callback=_seconds,
    default=0.02,
    show_default=True,
    help="Seconds between the frames of a stream.",
)
def main(
    listen: tuple[str, int],
    region: str,
    more_regions: tuple[str, ...],
    access_key: str,
    secret_key: str,
    more_keys: tuple[tuple[str, str], ...],
    bearer: str | None,
    pace: float,
) -> None:
    """Serve until SIGINT or SIGTERM."""
    verifier = Verifier(region, access_key, secret_key, bearer, dict(more_keys), more_regions)
    local = Local(Shelf(region), verifier, pace, elsewhere={name: Shelf(name) for name in more_regions})
    try:
        asyncio.run(serve(local, *listen, announce=lambda url: click.echo(f"bedrock_local listens on {url}")))
    except OSError as problem:
        raise click.ClickException(f"cannot listen on {listen[0]}:{listen[1]}: {problem.strerror}") from None


async def serve(local: Local, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Listen, pass the URL to `announce`, and return at SIGINT or SIGTERM; running streams are cut then."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        create(local), access_log=None, handler_cancellation=True, shutdown_timeout=_GRACE, auto_decompress=False
    )
    await runner.setup()
    shapes.operation("Converse")  # reads botocore's models before the first request
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0]
        announce(f"http://[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"http://{bound[0]}:{bound[1]}")
        await stop.wait()
    finally:
        await runner.cleanup()
