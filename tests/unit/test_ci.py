import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / ".ci" / "run"


@pytest.mark.parametrize("shell", ["bash", "sh", None])
def test_it_starts_however_it_is_called(shell: str | None, tmp_path: Path):
    command = [str(RUN)] if shell is None else [str(shutil.which(shell)), str(RUN)]

    answer = subprocess.run([*command, "no-such"], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert answer.stderr.startswith("ci: no such stage: no-such; there are install, ")
    assert answer.returncode == 1
