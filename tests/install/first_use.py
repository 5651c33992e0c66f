"""What one does first with an installed command: its version, a configuration, `up`, and a call."""

import re
from pathlib import Path

from extproc import __version__
from tests.install.conftest import ROOT, Terminal

PAGE = (ROOT / "docs" / "install.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(beginning: str) -> str:
    """The one block of the page that begins so."""
    [code] = [code for code in BLOCKS if code.startswith(beginning)]
    return str(code)


def works(folder: Path, path: Path, commit: str, kind: str = "interpreted") -> None:
    """Follow the page in an empty folder, with the installed command in `path`."""
    folder.mkdir()
    terminal = Terminal(folder, {"PATH": f"{path}:/usr/local/bin:/usr/bin:/bin"})
    shown = terminal.run(block("oai-extproc --version"))
    assert shown == f"oai-extproc, version {__version__} (commit {commit}; {kind})\n"
    start = block("export OPENAI_API_KEY")
    assert start.endswith("\noai-extproc up\n")
    background = start.replace(
        "\noai-extproc up\n", '\necho "$OPENAI_API_KEY"\nexec oai-extproc up --listen 127.0.0.1:0\n'
    )
    with terminal.running(
        background, rf"(?s)(qc_\S+)\n.*; {kind}\n.*listens on +(\S+)/oai/v1\n.*local Bedrock.*Try it:"
    ) as match:
        caller = Terminal(folder, {"OPENAI_API_KEY": match[1]})
        response = caller.run(block("curl").replace("http://127.0.0.1:8080", match[2]))
        assert 'You said: \\"Hello!\\"' in response
    assert "gateway.yaml is fine" in (folder / "log").read_text()
