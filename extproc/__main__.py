"""`python -m extproc` is `oai-extproc`."""

from extproc.cli import main

main(prog_name="oai-extproc")
