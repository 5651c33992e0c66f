"""OpenAI's wire: what clients send, what their SDKs expect back. Knows nothing of Bedrock."""
