"""What pyproject.toml cannot say: the hot rooms as machine code, where `OAI_EXTPROC_COMPILE=1` asks for it.

mypyc, a part of mypy, makes C of the very same typed Python, and a C compiler makes extension modules of that, which
stand beside the Python files and are imported instead of them. Nothing changes but the speed; the tests run on both.
It needs mypy, the dependencies and their types, and a C compiler, so, in a virtual environment:

    pip install '.[envoy,compile]'
    OAI_EXTPROC_COMPILE=1 pip install --no-deps --no-build-isolation --force-reinstall .

Without a C compiler, CC="python -m ziglang cc" and LDSHARED="$CC -shared" are one.
"""

import os
import sys

from setuptools import setup

COMPILED = {
    "bedrock": "catalogue eventstream pieces sigv4",
    "exchange": "admission answers budget calls client_headers exchange gateway models phase routes",
    "openai": "completion decoding errors sse",
    "telemetry": "record",
    "tenancy": "directory policy tokens",
    "translate": "cache chat_request chat_stream choices fields media messages model_fields names parameters "
    "past_calls past_reasoning reasoning shape tools turns",
    "transport": "encoding messages stream wire",
    "transport/http2": "connection events fields flood frames framing incoming intake outgoing session",
}
"""Where a request's and a frame's time goes. Not what makes classes for msgspec, asyncio or grpcio, which ask for
Python's own; and nothing that goes as deep as what it reads: there, Python's limit to recursion is a safeguard."""


def compiled() -> list[str]:
    """The files to compile."""
    return [f"extproc/{room}/{name}.py" for room, names in COMPILED.items() for name in names.split()]


def extensions() -> list[object]:
    """The extension modules, or none."""
    if os.environ.get("OAI_EXTPROC_COMPILE", "0") != "1" or "bdist_wheel" not in sys.argv:
        return []
    try:
        from mypyc.build import mypycify
    except ModuleNotFoundError:
        sys.exit("OAI_EXTPROC_COMPILE=1 needs mypy beside setuptools: pip install mypy, and --no-build-isolation")
    return mypycify(compiled(), opt_level="2", debug_level="0")


setup(ext_modules=extensions())
