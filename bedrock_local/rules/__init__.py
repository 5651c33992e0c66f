"""What AWS refuses although botocore's service model permits it: one rule, one small function, in the tables below.

A rule takes a `Conversation` and yields the message of each violation, in AWS's words where they are known. `check`
raises the first one as a ValidationException. Rules read the flags of the model's family (`families.json`), never its
name. Sources: AWS's documentation of Converse and the issues of the projects that met these refusals.
"""

from bedrock_local.conversation import Conversation
from bedrock_local.errors import invalid
from bedrock_local.rules import cache, extras, limits, media, results, schemas, thinking, tools, turns

#: In the order in which they are asked; the later ones may rely on the earlier ones.
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
    """Raise ValidationException with the first rule's first complaint."""
    for rule in RULES:
        for message in rule(conversation):
            raise invalid(message)
