"""OpenAI <-> Bedrock, pure: what one side said, in the other side's words."""
