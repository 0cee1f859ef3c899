"""The store's tables, the same in SQLite and PostgreSQL. Times are seconds since 1970, UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from georgia.monitor import columns
from georgia.monitor.columns import Kind

# Raised whenever a table changes; a store of another version is rejected, not guessed at.
SCHEMA_VERSION = "1"

# SQLite counts rows by itself only in plain INTEGER keys.
Counter = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

# The version of the schema.
properties = Table(
    "about",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("impurity", Text, nullable=False),
    Column("started_at_s", Double, nullable=False),
    Column("ended_at_s", Double),
    # What the charts know, as JSON: written with each frame, so that a restart goes on exactly.
    Column("chart_state", Text, nullable=False, default="{}"),
    Column("n_frames", Integer, nullable=False, default=0),
    Index("batches_source", "source", "ended_at_s"),
)

# A text of settings or a description of a model, kept once under its sha256.
documents = Table(
    "documents",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),
)

_TYPES = {
    Kind.INTEGER: Integer,
    Kind.LONG: BigInteger,
    Kind.NUMBER: Double,
    Kind.TIME: Double,
    Kind.FLAG: Boolean,
}


def _frame_column(column: columns.Column) -> Column[Any]:
    kind = String(column.n_chars) if column.n_chars else _TYPES.get(column.kind, Text)
    return Column(column.name, kind, nullable=column.may_be_none)


frames = Table(
    "frames",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("batch_id", Counter, ForeignKey("batches.id"), nullable=False),
    *(_frame_column(column) for column in columns.STORED if column.kind is not Kind.ID),
    Index("frames_batch", "batch_id", "ordinal", unique=True),
    Index("frames_once", "source", "sha256", unique=True),
    Index("frames_time", "frame_time_s"),
    # All that a chart wants, so that a long batch is read from the index and not from its wide rows.
    Index("frames_series", "batch_id", *(column.name for column in columns.SERIES)),
)

maps = Table(
    "maps",
    metadata,
    Column("frame_id", Counter, ForeignKey("frames.id", ondelete="CASCADE"), primary_key=True),
    Column("npz", LargeBinary, nullable=False),
)

# Every file that was dealt with, under its name, size and time of change.
ledger = Table(
    "ledger",
    metadata,
    Column("source", Text, primary_key=True),
    Column("file", Text, primary_key=True),
    Column("size_bytes", BigInteger, primary_key=True),
    Column("mtime_ns", BigInteger, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("verdict", String(16), nullable=False),  # frame, repeat or unreadable
    Column("error", Text, nullable=False, default=""),
    Column("frame_id", Counter),
    Column("seen_at_s", Double, nullable=False),
    Index("ledger_content", "source", "sha256"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("batch_id", Counter, ForeignKey("batches.id"), nullable=False),
    Column("frame_id", Counter),
    Column("raised_at_s", Double, nullable=False),
    Column("frame_time_s", Double, nullable=False),
    Column("cleared_at_s", Double),
    Column("fraction", Double),
    Column("low", Double),
    Column("high", Double),
    Column("reason", Text, nullable=False),
    Column("acknowledged_at_s", Double),
    Column("acknowledged_by", Text),
    Column("note", Text, nullable=False, default=""),
    Column("notified_at_s", Double),
    Index("alarms_batch", "batch_id", "id"),
)

audit_log = Table(
    "trail",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("batch_id", Counter),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
