"""Bedrock's wire: requests, responses, event streams, signatures, models. Independent of OpenAI's."""
