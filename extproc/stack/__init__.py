"""`oai-extproc up`: starts Envoy, the workers and a local Bedrock, watches them, and stops them all."""
