"""All pages: a test runs each command, each option that they name exists, and each link has a target."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bedrock_local.cli import main as bedrock_local
from extproc.cli import main
from extproc.worker import command as worker

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "envoy" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN_BY = {
    "README.md": "tests/clients/test_readme.py",
    "envoy/README.md": "tests/envoy/test_operations.py",
    "docs/attach.md": "tests/envoy/attached_envoy.py",
    "docs/install.md": "tests/install/test_page.py",
    "docs/clients.md": "tests/clients/test_clients_page.py",
    "docs/docker.md": "tests/compose/test_docs.py",
    "docs/local-bedrock.md": "tests/clients/test_local_bedrock_page.py",
    "docs/helm.md": "tests/helm/test_cluster.py",
    "docs/kubernetes.md": "tests/deploy/test_documentation.py",
    "docs/operations.md": "tests/envoy/test_operations.py",
    "docs/responses.md": "tests/clients/test_responses_page.py",
    "docs/usage.md": "tests/unit/cli/test_usage.py",
}
"""Which test runs the shell blocks of a page; each also sees that it has left none out."""

NOT_OURS = {
    *("--detach", "--wait", "--time", "--volumes", "--target", "--tag", "--format", "--component-log-level"),
    "--deploy-hook",
    *("--force", "--volume", "--rm"),
    *("--build", "--build-arg", "--platform", "--always", "--dirty", "--help", "--auth-type"),
    "--file-flush-interval-msec",
    "--latency",  # of redis-cli
}
"""Options of Docker, Envoy, Git, certbot, AWS's command line and clients in the prose of pages."""


CALLED = re.compile(r"^\s*(?:export \w+=\$\()?oai-extproc ", re.MULTILINE)
HOW_TO_CALL = "install.md#how-pages-call-the-command"


def test_the_readme_is_one_page() -> None:
    """As many lines as there are, and a few; what needs more has a page in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_calls_the_command_alike_and_says_how_at_its_top(page: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert not [code for code in blocks if re.search(r"/bin/oai-extproc|-m extproc", code)]
    if page.name not in ("README.md", "install.md") and any(map(CALLED.search, blocks)):
        assert HOW_TO_CALL in page.read_text().partition("```sh\n")[0]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        yield from ((page, link) for link in sorted(set(re.findall(r"\]\(([^)\s]+)\)", page.read_text()))))


def options(command: click.Command) -> Iterator[str]:
    """Yield all options of a command and of its subcommands."""
    yield from (name for parameter in command.params for name in parameter.opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below)


@pytest.mark.parametrize(("page", "link"), list(links()), ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_with_commands_has_a_test_that_runs_them(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    assert ("```sh" in page.read_text()) == (name in RUN_BY)
    if name in RUN_BY:
        source = (ROOT / RUN_BY[name]).read_text()
        assert all(f'"{part}"' in source for part in name.split("/")), f"{RUN_BY[name]} does not read {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_a_sentence_names_exist(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    named = {option for code in re.findall(r"`([^`]+)`", prose) for option in re.findall(r"(?<!\S)--[a-z-]+", code)}
    assert named - {*options(main), *options(worker.main), *options(bedrock_local)} - NOT_OURS == set()
