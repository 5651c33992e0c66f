"""`python -m bedrock_local`."""

from bedrock_local.cli import main

main(prog_name="python -m bedrock_local")
