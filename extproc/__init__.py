"""OpenAI's API in front of AWS Bedrock, as an Envoy external processor."""

__version__ = "0.2.0"
