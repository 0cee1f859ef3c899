"""Which model analysed the frames that the page shows: not always the one that is served."""

from __future__ import annotations

from typing import Any

from georgia.errors import InputError
from georgia.model.bundle import Bundle
from georgia.monitor.queries import StoreReader


class BatchModels:
    """What the record holds of each model, asked for once."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._known: dict[str, dict[str, Any]] = {}

    def describe(self, sha256: str, served: Bundle) -> dict[str, Any] | None:
        """Return a model's name, whether it is a demonstration (None: not known), and whether it is served.

        None where a frame does not say by which model it was analysed, as of an early version. A model that
        the record does not describe has the name "". ``served`` is the one that classifies single images.
        """
        if not sha256:
            return None
        is_served = sha256 == served.sha256
        if is_served:
            found: dict[str, Any] = {"name": served.name, "is_demonstration": served.is_demonstration}
        else:
            if sha256 not in self._known:
                self._known[sha256] = self._find(sha256)
            found = self._known[sha256]
        return {"sha256": sha256, **found, "is_served": is_served}

    def _find(self, sha256: str) -> dict[str, Any]:
        try:
            kept = self._store.document(sha256)
        except InputError:
            kept = {}
        is_demonstration = kept.get("is_demonstration")
        return {
            "name": str(kept.get("name") or ""),
            "is_demonstration": is_demonstration if isinstance(is_demonstration, bool) else None,
        }
