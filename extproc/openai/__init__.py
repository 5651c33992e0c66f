"""OpenAI's wire: requests as clients send them, responses as their SDKs expect them. Knows nothing of Bedrock."""
