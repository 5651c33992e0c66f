"""Rules of AWS that botocore's service model does not have: a small function each, in the tables below.

A rule takes a `Conversation` and yields the message of each violation, in AWS's words where they are known. `check`
raises the first one as a ValidationException. Rules read the flags of the model's family (`families.json`), never its
name. Sources: AWS's documentation of Converse and issues of projects that met these errors.
"""

from bedrock_local.conversation import Conversation
from bedrock_local.errors import invalid
from bedrock_local.rules import cache, extras, limits, media, results, schemas, thinking, tools, turns

#: In the order of evaluation; later rules may rely on earlier ones.
RULES = (
    *turns.RULES,
    *tools.RULES,
    *results.RULES,
    *media.RULES,
    *extras.RULES,
    *thinking.RULES,
    *schemas.RULES,
    *cache.RULES,
    *limits.RULES,
)


def check(conversation: Conversation) -> None:
    """Raise ValidationException with the first violation of the first violated rule, or the model's own error."""
    for rule in RULES:
        for message in rule(conversation):
            raise invalid(message)
    tools.check_names(conversation)
