"""The role that an organisation's calls are made with.

Decision: docs/decisions.md, D217.
"""

import msgspec

from extproc.config.kinds import ExternalId, RoleArn


class RoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role of IAM, which the gateway assumes by its own identity."""

    arn: RoleArn
    external_id: ExternalId | None = None
    """What the role's trust policy asks for (`sts:ExternalId`), so that no other customer's ARN can stand here."""
