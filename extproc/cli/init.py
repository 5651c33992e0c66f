"""`oai-extproc init`: a first gateway.yaml, with one organisation and one token."""

import os
from pathlib import Path

import click
import yaml

from extproc.cli.parameters import UserError, required_config
from extproc.cli.token import fresh_entry
from extproc.config.token_entries import entry_lines

_TEMPLATE = """\
# The configuration of oai-extproc. `oai-extproc check` reads it and reports what is wrong; docs/configuration.md has
# every key. Organisations and tokens take effect while the gateway runs.

{region}

organisations:
  {organisation}:
    # Patterns of model ids, as in "anthropic.*"; `deny` has priority. `oai-extproc models` lists what they permit.
    models: {{allow: ["*"], deny: []}}

# API keys: only the SHA-256 of each is stored. `oai-extproc token create --append FILE` adds one.
tokens:
"""


@click.command()
@required_config
@click.option("--organisation", default="main", show_default=True, help="The organisation's machine name.")
@click.option("--name", default="first", show_default=True, help="The token's name in logs.")
def init(path: Path, organisation: str, name: str) -> None:
    """Write a first gateway.yaml, with one organisation and one token, and print the token once.

    An existing file is left as it is. Standard output has the token only, so that it can be assigned to a variable:
    export OPENAI_API_KEY=$(oai-extproc init).
    """
    from extproc.stack.upstream import DEFAULT_REGION, aws_region

    token, entry = fresh_entry(name, (organisation,))
    region = aws_region(os.environ)
    text = _TEMPLATE.format(
        region=_region_lines(region, DEFAULT_REGION), organisation=yaml.safe_dump(organisation).splitlines()[0]
    )
    _write(path, text + entry_lines(entry))
    chosen = (
        f"AWS's settings name the region, {region}"
        if region
        else f"region {DEFAULT_REGION}, as AWS's settings name none"
    )
    click.echo(f"Wrote {path}: organisation {organisation!r} with every model; {chosen}.", err=True)
    click.echo(f"The token {name!r}, shown this once; callers send it as OPENAI_API_KEY:", err=True)
    click.echo(token)


def _region_lines(region: str | None, default: str) -> str:
    """Return the lines of the region: without one in AWS's settings, the file has to name it."""
    if region:
        return f"# Without `region`, AWS's own settings name it (AWS_REGION, the profile).\n# region: {region}"
    return f"# The AWS region whose models are served.\nregion: {default}"


def _write(path: Path, text: str) -> None:
    """Write a new file; raises `UserError` if there is one already."""
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(
            f"{path} exists, and is left as it is; add a token to it with `oai-extproc token create --append {path} "
            "--name NAME --organisation ORGANISATION`, or name another file with --config"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; name a file in a folder that can be written to with --config"
        ) from error
