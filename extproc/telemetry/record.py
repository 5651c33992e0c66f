"""What is remembered of one call.

The exchange fills it in as it learns; the transport hands it to Envoy as dynamic metadata (namespace `oai`), where
access logs, metrics and rate limits read it. No content, no API key and no credential is ever in it: `token` is a name.
"""

import msgspec

from extproc.openai.completion import Usage


class Record(msgspec.Struct):
    """One call. Tokens are the billed ones, as OpenAI counts them; `finish` says how it ended."""

    request_id: str
    operation: str = ""
    organisation: str = ""
    token: str = ""
    model: str = ""
    bedrock_model: str = ""
    stream: bool = False
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    bedrock_request_id: str = ""
    ignored_params: int = 0
    """How many of the request's fields were accepted and changed nothing."""
    bedrock_error: str = ""
    """AWS's words when it refused, or why it could not be reached; for operators, callers do not see all of it."""

    def account(self, usage: Usage, finish: str) -> None:
        """What it cost, and how it ended."""
        self.input_tokens, self.output_tokens, self.cached_tokens = usage.prompt, usage.completion, usage.cached
        self.finish = finish

    def metadata(self) -> dict[str, str | int | bool]:
        """Every field by its name, so that a reader need not guess which are there."""
        return msgspec.structs.asdict(self)
