"""The kinds of values in gateway.yaml. The description of a type is also the error message for a wrong value."""

import datetime
from typing import Annotated, Literal

from msgspec import Meta

MachineName = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="a machine name (1 to 64 letters, digits, `.`, `_`, `-`; a letter or digit first)",
    ),
]
Region = Annotated[str, Meta(pattern=r"\A[a-z0-9-]{1,63}\Z", description="the name of an AWS region, as in us-east-1")]
Geography = Annotated[Literal["strict", "global"], Meta(description="`strict` or `global`")]
RoleArn = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"\Aarn:aws[a-z-]*:iam::[0-9]{12}:role/[\x21-\x7e]+\Z",
        description="the ARN of an IAM role, as in arn:aws:iam::123456789012:role/acme",
    ),
]
ExternalId = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=1224,
        pattern=r"\A[A-Za-z0-9_+=,.@:/-]+\Z",
        description="an external id (2 to 1224 letters, digits and `_+=,.@:/-`)",
    ),
]
Regions = Annotated[
    tuple[Region, ...], Meta(max_length=64, description="a list of at most 64 names of AWS regions, as in eu-central-1")
]
Sha256 = Annotated[
    str,
    Meta(
        pattern=r"\A[0-9A-Fa-f]{64}\Z",
        description="64 hex digits (the SHA-256 of the whole token, as `oai-extproc token create` prints it)",
    ),
]
TokenName = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{1,128}\Z",
        description="a name of 1 to 128 characters on one line, by which logs and metrics know the token",
    ),
]
Pattern = Annotated[
    str,
    Meta(
        pattern=r"\A[^\s\x00-\x1f\x7f]{1,2048}\Z",
        description="a pattern of model ids without blanks, as in `anthropic.*`",
    ),
]
Scope = Annotated[
    Literal["chat", "embeddings", "models", "responses", "usage"],
    Meta(description="`chat`, `embeddings`, `models`, `responses` or `usage`"),
]
Expiry = Annotated[datetime.datetime, Meta(tz=True, description="a time with its zone, as in 2027-01-01T00:00:00Z")]
Place = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{1,4096}\Z",
        description="the path of a file or a folder, as in /etc/oai/tokens",
    ),
]
StateFile = Annotated[
    str,
    Meta(
        pattern=r"\A[^\x00-\x1f\x7f]{1,4096}\Z",
        description="the path of a file, as in /var/lib/oai/last-used.json",
    ),
]
Cidr = Annotated[
    str,
    Meta(pattern=r"\A[0-9a-fA-F.:]+/[0-9]{1,3}\Z", description="a network, as in 2600:1f18::/32 or 203.0.113.0/24"),
]
Origin = Annotated[
    str,
    Meta(
        pattern=r"\A(\*|[a-z][a-z0-9+.-]{0,63}://([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?)\Z",
        description="an origin (scheme, host and port as browsers send them: in lower case, nothing after them), as in "
        "https://chat.example.com, or `*`",
    ),
]
Workers = Annotated[
    Literal["auto"] | Annotated[int, Meta(ge=1, le=64)], Meta(description="`auto`, or a whole number from 1 to 64")
]
Pdf = Annotated[Literal["visual", "text"], Meta(description="`visual` or `text`")]
YesNo = Annotated[bool, Meta(description="true or false")]
ProjectId = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"\A([a-zA-Z0-9_-]+|arn:aws[a-z-]*:bedrock:[0-9a-z-]{1,20}:[0-9]{12}:project/[a-zA-Z0-9_-]+)\Z",
        description="the id or ARN of a project of Bedrock, as in proj_1a2b3c",
    ),
]
AliasName = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:/-]*\Z",
        description="a name for a model (letters, digits, `.`, `_`, `:`, `/`, `-`; no blanks), as in gpt-4o",
    ),
]
ModelId = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._:/-]*\Z",
        description="the id or ARN of a model of Bedrock, as in anthropic.claude-sonnet-4-6",
    ),
]
Aliases = Annotated[dict[AliasName, ModelId], Meta(description="a mapping from names to ids or ARNs of models")]
MetadataKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        pattern=r"\A[a-zA-Z0-9 :_@$#=/+,.-]+\Z",
        description="a key of 1 to 256 letters, digits, blanks and `:_@$#=/+,.-`",
    ),
]
MetadataValue = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"\A[a-zA-Z0-9 :_@$#=/+,.-]*\Z",
        description="a text of 0 to 256 letters, digits, blanks and `:_@$#=/+,.-`",
    ),
]
RequestMetadata = Annotated[dict[MetadataKey, MetadataValue], Meta(description="a mapping from keys to texts")]
MetadataName = Annotated[
    Literal["organisation", "token", "request_id"], Meta(description="`organisation`, `token` or `request_id`")
]
GuardrailId = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=r"\A([a-z0-9]+|arn:aws[a-z-]*:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+)\Z",
        description="the id or ARN of a guardrail of Bedrock, as in gr1a2b3c4d5e",
    ),
]
GuardrailVersion = Annotated[
    str, Meta(pattern=r"\A([1-9][0-9]{0,7}|DRAFT)\Z", description='a version in quotes, as in "1", or DRAFT')
]
MaxTokens = Annotated[int, Meta(ge=16, le=10_000_000, description="a whole number from 16 to 10000000")]
FieldPath = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9_$-]{1,64}(\[\])?(\.[A-Za-z0-9_$-]{1,64}(\[\])?){0,15}\Z",
        description="the path of a field, as in `chat_template_kwargs` or `tools[].function.input_examples`",
    ),
]
ResponseKey = Annotated[
    str,
    Meta(
        pattern=r"\A[!-~]{32,512}\Z",
        description="a secret of 32 to 512 printable characters without blanks, as `openssl rand -hex 32` makes one",
    ),
]
Seconds = Annotated[
    float, Meta(gt=0, le=31_536_000, description="a number of seconds, above 0 and at most 31536000 (a year)")
]

Bytes = Annotated[
    int,
    Meta(
        ge=1024,
        le=512 * 1024 * 1024,
        description="a whole number of bytes from 1024 (1 KiB) to 536870912 (512 MiB)",
    ),
]
InFlightBytes = Annotated[
    Literal["auto"] | Annotated[int, Meta(ge=1024 * 1024, le=1024**4)],
    Meta(description="`auto`, or a whole number of bytes from 1048576 (1 MiB) to 1099511627776 (1 TiB)"),
]
TableName = Annotated[
    str,
    Meta(pattern=r"\A[a-zA-Z0-9_.-]{3,255}\Z", description="the name of a DynamoDB table, as in oai-tenants"),
]
Rate = Annotated[int, Meta(ge=1, le=100_000, description="a whole number from 1 to 100000")]
Concurrency = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
