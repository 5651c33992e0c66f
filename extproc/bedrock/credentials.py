"""What signs a call to Bedrock: a key pair, or an API key. They cross from AWS's subprocess as JSON, so msgspec has to
know the types of their fields: this module is not compiled."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AWS key pair; `session_token` comes with temporary ones. The secrets stay out of `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A Bedrock API key (`AWS_BEARER_TOKEN_BEDROCK`), sent in place of a signature."""

    token: str = field(repr=False)
