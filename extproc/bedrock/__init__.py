"""Bedrock's wire: requests, answers, event streams, signatures, models. Knows nothing of OpenAI."""
