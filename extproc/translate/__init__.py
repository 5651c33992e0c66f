"""Pure translation between the two APIs: OpenAI's requests and responses <-> Bedrock's."""
