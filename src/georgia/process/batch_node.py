"""The name of the batch from a node of an OPC UA server: a change of its value begins the next batch.

An empty value is "no batch": what the probe sees between two batches is charted in a batch of that name, and
in none of theirs. A value of poor quality, or one that does not last, changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from georgia.errors import InputError
from georgia.monitor.columns import iso_time
from georgia.monitor.connect import StoreAwayError
from georgia.process.opcua_values import Sample
from georgia.process.settings import OpcuaSourceConfig, SourceConfig

if TYPE_CHECKING:
    from georgia.monitor.queries import StoreReader
    from georgia.monitor.run import Monitor

NO_BATCH = "no batch"
# As long as a name that the page takes.
_LONGEST_NAME, _HASH_LETTERS = 120, 8
_NOTE = "named by OPC UA node"


def clean_batch_name(text: str) -> str:
    r"""Return a batch's name on one line: without control signs, and no longer than one that is typed.

    What is cut off is kept apart by a hash, so that two long names do not become one.

    >>> clean_batch_name(" B-117\t/ä\x00 "), clean_batch_name(""), len(clean_batch_name("x" * 500))
    ('B-117 /ä', 'no batch', 120)
    """
    plain = unicodedata.normalize("NFC", text)
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())
    if len(plain) > _LONGEST_NAME:
        digest = hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:_HASH_LETTERS]
        plain = f"{plain[: _LONGEST_NAME - _HASH_LETTERS - 1]}…{digest}"
    return plain or NO_BATCH


class BatchNode:
    """Decides when a value of the node is the name of another batch.

    Args:
        node_id: the node, for the note of the batch.
        begin: called with name and note to begin a batch, in the thread that calls ``check``.
        hold_s: a value counts once it has not changed for so long: it may be typed letter by letter, and a
            controller that starts may be empty for a moment.
        applied: the name that the running batch has of this node, None if it has none.
    """

    def __init__(
        self,
        node_id: str,
        begin: Callable[[str, str], None],
        hold_s: float = 5.0,
        applied: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node_id, self._begin, self._hold_s, self._clock = node_id, begin, hold_s, clock
        self.applied = applied
        self._lock = threading.Lock()
        self._pending: tuple[str, float, Sample] | None = None

    @staticmethod
    def can_name(sample: Sample) -> bool:
        """Tell whether a value is a text or a whole number."""
        return sample.kind == "String" or (sample.is_number and sample.kind not in ("Float", "Double"))

    def take(self, sample: Sample) -> None:
        """Take in a value of the node; one that is not good, or no name, changes nothing."""
        if not sample.is_good or not self.can_name(sample):
            return
        name = clean_batch_name(sample.text)
        with self._lock:
            if name == self.applied:
                self._pending = None
            elif self._pending is None or self._pending[0] != name:
                self._pending = (name, self._clock(), sample)

    def check(self) -> None:
        """Begin the next batch if the value is another one and has lasted."""
        with self._lock:
            pending = self._pending
            if pending is None or self._clock() - pending[1] < self._hold_s:
                return
            self._pending, self.applied = None, pending[0]
        self._begin(pending[0], self.describe(pending[2]))

    def take_first(self) -> tuple[str, str] | None:
        """Return name and note of the batch at the start, at once; None before there is a value."""
        with self._lock:
            if self._pending is None:
                return None
            name, _, sample = self._pending
            self._pending, self.applied = None, name
        return name, self.describe(sample)

    def describe(self, sample: Sample) -> str:
        """Return the note of a batch: which node named it, and since when by the server's clock."""
        since = f", which has this value since {iso_time(sample.source_s)}" if sample.source_s else ""
        return f"{_NOTE} {self._node_id}{since}"


def find_applied(store: StoreReader, source: str) -> str | None:
    """Return the name that the node gave last to a batch of a source, as long as one runs.

    That batch may have ended since: a person began another one. None where there is none.
    """
    batches = [batch for batch in store.batches(limit=1000) if batch.source == source]
    if not batches or batches[0].ended_at_s is not None:
        return None
    named = (batch.name for batch in batches if _NOTE in batch.note)
    return next((re.sub(r" \(\d+\)$", "", name) for name in named), None)


def make_batch_node(config: SourceConfig, store: StoreReader, monitor: Monitor) -> BatchNode | None:
    """Return what names the batches of a monitor by a node of a server, None where the settings name none.

    Raises:
        InputError: the monitor's settings name the batch too.
    """
    if not isinstance(config, OpcuaSourceConfig) or not config.batch_node:
        return None
    if monitor.config.batch:
        raise InputError(
            "Cannot name the batch",
            needs="batch or batch_node is needed",
            got=f"both: {monitor.config.batch!r} and {config.batch_node!r}",
        )

    def begin(name: str, note: str) -> None:
        monitor.next_batch(monitor.who, name, monitor.config.operator, note)

    applied = None
    with suppress(StoreAwayError):  # the same name goes on with the same batch, whether or not it is known
        applied = find_applied(store, monitor.source)
    return BatchNode(config.batch_node, begin, config.batch_hold_s, applied)
