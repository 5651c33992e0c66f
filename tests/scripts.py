"""Programs that are no modules of a package."""

import importlib.util
from pathlib import Path
from typing import Any


def load(path: Path) -> Any:
    """Return a program as a module, which is not run as the main one."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
