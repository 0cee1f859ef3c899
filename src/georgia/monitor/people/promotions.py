"""Promotions of models in the record: who put which model in another one's place, with what proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from georgia.model.bundle import PROMOTION, Bundle
from georgia.monitor.connect import reading
from georgia.monitor.people.users import has_users
from georgia.monitor.records import AuditAction

if TYPE_CHECKING:
    from georgia.monitor.store import Store

_MEANING = "promotion of a model"
# So many of the newest entries are looked through.
_NEWEST = 100


def record_promotion(store: Store, who: str, bundle: Bundle, role: str = "", method: str = "") -> None:
    """Write into a store's audit log which model took another one's place.

    ``method`` is how ``who`` proved to have ``role``; then the entry is that person's signature.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    promotion = dict(bundle.metadata[PROMOTION])
    detail = {name: promotion.get(name) for name in ("decision", "reason", "from", "to", "at")}
    signed = {"meaning": _MEANING, "method": method} if method else {}
    told = {**detail, "model_sha256": bundle.sha256, "role": role, **signed}
    store.append_event(who, AuditAction.MODEL_PROMOTED, told)


def is_proved(store: Store, bundle: Bundle, promotion: Mapping[str, Any]) -> bool:
    """Tell whether a store's audit log holds a promotion; one without users asks nobody for a proof.

    Raises:
        StoreAwayError: the store cannot be reached now.
    """
    with reading(store.engine) as connection:
        if not has_users(connection):
            return True
    same = bundle.sha256, str(promotion.get("at")), str(promotion.get("who"))
    entries = store.audit_log(action=AuditAction.MODEL_PROMOTED, limit=_NEWEST)
    return any(
        (each.detail.get("model_sha256"), str(each.detail.get("at")), each.who) == same for each in entries
    )
