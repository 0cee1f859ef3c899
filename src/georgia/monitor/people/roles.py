"""Who may do what: four roles, the rights that each has, and the meanings of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What somebody is to the probe. An administrator manages people and changes nothing of a batch.

    Source of that separation: MHRA GXP Data Integrity Guidance and Definitions, 2018, section 6.16.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    REVIEWER = "reviewer"
    ADMINISTRATOR = "administrator"


class Right(StrEnum):
    """What may be done.

    ``OPEN`` needs no log-in. ``SELF`` is what concerns one's own session alone. ``SIGN`` is any signature;
    which meanings somebody may give it is in ``MEANINGS``.
    """

    OPEN = "open"
    SELF = "own session"
    READ = "read"
    OPERATE = "operate"
    DECIDE = "decide"
    SIGN = "sign"
    PROMOTE = "promote a model"
    PEOPLE = "manage people"


class Meaning(StrEnum):
    """What a signature says of a batch. Source: 21 CFR 11.50(a)(3)."""

    RESPONSIBILITY = "responsibility"
    REVIEW = "review"
    APPROVAL = "approval"
    RELEASE = "release"
    REJECTION = "rejection"


class SignedAction(StrEnum):
    """What a site may have signed with the password, by the setting ``sign``; see ``ACTION_MEANINGS``."""

    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    CLOSE = "close"
    LIMITS = "limits"
    OVERRIDE = "override"
    # Not by that setting: of the labelling page, where its user has no password there.
    PROMOTE = "promote"


ACTION_MEANINGS: Mapping[SignedAction, str] = {
    SignedAction.ACKNOWLEDGE: "acknowledgement of an alarm",
    SignedAction.SHELVE: "shelving of an alarm",
    SignedAction.CLOSE: "closing of an alarm",
    SignedAction.LIMITS: "limits of the probe",
    SignedAction.OVERRIDE: "going on against a commissioning",
    SignedAction.PROMOTE: "promotion of a model",
}


class Method(StrEnum):
    """How a signer proved who they are, at the time of the signature. Source: 21 CFR 11.200(a)(1)."""

    PASSWORD = "password"
    PROVIDER = "re-authenticated at the identity provider"


_ALL = frozenset((Right.OPEN, Right.SELF, Right.READ))
RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.VIEWER: _ALL,
    Role.OPERATOR: _ALL | {Right.OPERATE, Right.SIGN},
    Role.REVIEWER: _ALL | {Right.OPERATE, Right.DECIDE, Right.SIGN, Right.PROMOTE},
    Role.ADMINISTRATOR: _ALL | {Right.PEOPLE},
}
MEANINGS: Mapping[Role, frozenset[Meaning]] = {
    Role.VIEWER: frozenset(),
    Role.OPERATOR: frozenset((Meaning.RESPONSIBILITY,)),
    Role.REVIEWER: frozenset(Meaning),
    Role.ADMINISTRATOR: frozenset(),
}


def may(role: Role, right: Right) -> bool:
    """Tell whether a role has a right.

    >>> may(Role.OPERATOR, Right.OPERATE), may(Role.OPERATOR, Right.DECIDE)
    (True, False)
    """
    return right in RIGHTS[role]


def name_roles(right: Right) -> str:
    """Return the roles that have a right, for a message.

    >>> name_roles(Right.OPERATE)
    'operator or reviewer'
    """
    return " or ".join(role for role in Role if may(role, right))
