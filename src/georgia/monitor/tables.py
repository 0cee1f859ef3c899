"""The store's tables, the same in SQLite and PostgreSQL. Times are seconds since 1970, UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.schema import CreateColumn

from georgia.errors import InputError
from georgia.monitor import columns
from georgia.monitor.columns import Kind

# A store of another version is rejected, not guessed at. Tables and columns that may be empty are added
# without another version: who writes adds them, who reads does without.
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
    Column("shelved_at_s", Double),
    Column("shelved_until_s", Double),
    Column("shelved_by", Text),
    Column("shelved_reason", Text),
    Column("closed_at_s", Double),
    Column("closed_by", Text),
    Column("closed_reason", Text),
    Column("chart", String(16)),
    Column("value", Double),
    Column("limit", Double),
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

# One row for each monitor that watches, or watched, a source: written about once a second while it runs.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("process", String(32), primary_key=True),
    Column("source", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("who", Text, nullable=False),
    Column("started_at_s", Double, nullable=False),
    Column("beat_at_s", Double, nullable=False),
    Column("loop_at_s", Double),
    Column("frame_at_s", Double),
    Column("since_s", Double),
    Column("state", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("n_waiting", Integer, nullable=False),
    Column("n_unwritten", Integer, nullable=False),
    Column("n_unreadable", Integer, nullable=False),
    Column("n_missed", Integer, nullable=False),
    # What the loop worked at, or the reader read, when the row was written.
    Column("file", Text, nullable=False),
    Column("batch_id", Counter),
    Column("ended_at_s", Double),
    Column("threads", Integer),
    Index("heartbeats_source", "source", "started_at_s"),
)

# The plan of a spot check, written before its first window is named; n_entries counts its rows below.
spotchecks = Table(
    "spotchecks",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("batch_id", Counter, ForeignKey("batches.id"), nullable=False),
    Column("planned_at_s", Double, nullable=False),
    Column("planned_by", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("target", Text, nullable=False),
    Column("n_sampled", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    # The last frame whose windows it is of.
    Column("through_frame", Counter, nullable=False),
    # JSON: settings, levels, and every sampled window with its probabilities.
    Column("plan", Text, nullable=False),
    Column("n_entries", Integer, nullable=False),
    Index("spotchecks_batch", "batch_id", "id"),
)

# What a person said of a sampled window; "" takes back what was said of it last.
spotcheck_names = Table(
    "spotcheck_names",
    metadata,
    Column("spotcheck_id", Counter, ForeignKey("spotchecks.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at_s", Double, nullable=False),
)

# A quantity beside the images: the temperature of a reactor, say. It has one unit for good.
process_variables = Table(
    "process_variables",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("added_at_s", Double, nullable=False),
    Index("process_variables_name", "source", "name", unique=True),
)

# What was read in one go: so many bytes of a file, and the values that they gave.
process_pieces = Table(
    "process_pieces",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("source", Text, nullable=False),
    # The frames' origin that its values belong to, "" is any; or one batch whatever the time.
    Column("probe", Text, nullable=False),
    Column("batch_id", Counter, ForeignKey("batches.id")),
    Column("file", Text, nullable=False),
    Column("read_at_s", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("first_byte", BigInteger, nullable=False),
    Column("end_byte", BigInteger, nullable=False),
    # What the file held before its end, so that one that was replaced is noticed.
    Column("fingerprint", Text, nullable=False),
    # JSON: how the file was understood, and what can be told of its last row.
    Column("reading", Text, nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("n_values", Integer, nullable=False),
    Column("n_gaps", Integer, nullable=False),
    Column("first_time_s", Double),
    Column("last_time_s", Double),
    # Over all rows of process_values that came with it.
    Column("values_sha256", String(64), nullable=False),
    Index("process_pieces_file", "source", "file", "id"),
)

# A value of a variable; a row without one is a gap, and its quality says why.
process_values = Table(
    "process_values",
    metadata,
    Column("variable_id", Counter, ForeignKey("process_variables.id"), primary_key=True, autoincrement=False),
    Column("time_s", Double, primary_key=True),
    Column("value", Double),
    Column("quality", String(32), nullable=False),
    Column("piece_id", Counter, ForeignKey("process_pieces.id"), nullable=False),
    Index("process_values_piece", "piece_id", "variable_id", "time_s"),
)

# Events (dosing, seeding, sampling) and laboratory results, typed or from a file; none is altered, only
# withdrawn.
process_entries = Table(
    "process_entries",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("kind", String(16), nullable=False),  # event or laboratory
    Column("batch_id", Counter, ForeignKey("batches.id")),
    Column("probe", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("time_s", Double, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Double),
    Column("unit", Text, nullable=False),
    Column("sd", Double),
    Column("note", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("entered_at_s", Double, nullable=False),
    Column("file", Text, nullable=False),
    Column("withdrawn_at_s", Double),
    Column("withdrawn_by", Text),
    Column("withdrawn_reason", Text),
    Index("process_entries_time", "time_s"),
)

# People. None of these rows is removed, so that an id names one user for good.
people_users = Table(
    "people_users",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("name", Text, nullable=False),
    # What the name looks like: no two users have names that could be taken for each other.
    Column("key", Text, nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    # Argon2id with its salt, "" where another service identifies the user.
    Column("password_hash", Text, nullable=False),
    # One-time: it is to be replaced at the first log-in.
    Column("is_temporary", Boolean, nullable=False),
    Column("password_at_s", Double, nullable=False),
    Column("added_at_s", Double, nullable=False),
    Column("disabled_at_s", Double),
    # OpenID Connect: issuer and subject, with a space between.
    Column("subject", Text, unique=True),
)

# A client's token, known by its sha256 alone.
people_tokens = Table(
    "people_tokens",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("added_at_s", Double, nullable=False),
    Column("expires_at_s", Double),
    Column("revoked_at_s", Double),
)

# An electronic signature on a batch, bound to the end of the record at its time.
people_signatures = Table(
    "people_signatures",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("batch_id", Counter, ForeignKey("batches.id"), nullable=False),
    Column("user_id", Counter, ForeignKey("people_users.id"), nullable=False),
    Column("who", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("meaning", String(32), nullable=False),
    Column("note", Text, nullable=False),
    Column("signed_at_s", Double, nullable=False),
    Column("head", Text, nullable=False),
    Column("n_frames", Integer, nullable=False),
    Column("content_sha256", String(64), nullable=False),
    # How the signer proved who they are; none in what earlier versions wrote: by password.
    Column("method", Text),
    Index("people_signatures_batch", "batch_id", "id"),
)

# Who is logged in, and which log-ins failed: no part of the record, whose audit log tells of both.
people_sessions = Table(
    "people_sessions",
    metadata,
    Column("id", String(64), primary_key=True),  # sha256 of what the browser holds
    Column("user_id", Counter, ForeignKey("people_users.id"), nullable=False),
    Column("device", String(64), nullable=False),
    Column("address", Text, nullable=False),
    Column("begun_at_s", Double, nullable=False),
    Column("used_at_s", Double, nullable=False),
    Column("ended_at_s", Double),
    Index("people_sessions_user", "user_id"),
)

people_failures = Table(
    "people_failures",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("user_id", Counter),
    Column("origin", Text, nullable=False),  # an address, or a browser that had logged in before
    Column("at_s", Double, nullable=False),
    # Of which machine, of which run of it, and how long that had lasted then.
    Column("host", Text),
    Column("boot", Text),
    Column("uptime_s", Double),
    Index("people_failures_time", "at_s"),
)

# One row a transaction, over all that it wrote: see georgia.monitor.seals.
seals = Table(
    "seals",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    # JSON: [table, key, sha256 of the row, or null where it was removed] for each row that was written.
    Column("rows", Text, nullable=False),
    Column("trail_seq", Integer, nullable=False),
    Column("trail_hash", String(64), nullable=False),
    Column("frame_id", Counter, nullable=False),
    Column("chain", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)


def find_columns(connection: Connection) -> dict[str, frozenset[str]]:
    """Return the names of the columns of each of our tables that the database has."""
    if connection.dialect.name != "sqlite":
        inspector = inspect(connection)
        names = set(inspector.get_table_names()) & set(metadata.tables)
        return {name: frozenset(column["name"] for column in inspector.get_columns(name)) for name in names}
    # One query for all tables, a twentieth of the time: every reader asks.
    listing = (
        "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'"
    )
    found: dict[str, set[str]] = {}
    for table, column in connection.exec_driver_sql(listing):
        if table in metadata.tables:
            found.setdefault(table, set()).add(column)
    return {table: frozenset(columns) for table, columns in found.items()}


def check_store(found: dict[str, frozenset[str]], connection: Connection, where: str) -> None:
    """Reject a database that Georgia has not made, or one of another version.

    Raises:
        InputError: it is no store of this version.
    """
    version = None
    if found.get("about") == frozenset(("name", "value")):
        query = select(properties.c.value).where(properties.c.name == "schema")
        version = connection.execute(query).scalar()
    if version is None:
        raise InputError(
            f"Cannot open {where!r}",
            needs="a store of Georgia is needed",
            got="a database of something else" if inspect(connection).get_table_names() else "an empty one",
            hint="It was left as it is. Give what 'georgia monitor --db' wrote.",
        )
    if version != SCHEMA_VERSION:
        raise InputError(
            f"Cannot open the store {where!r}",
            needs=f"its tables must be of version {SCHEMA_VERSION}",
            got=version,
            hint="Use the version of Georgia that made it, or another --db.",
        )
    lacking = [
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if table.name in found and not column.nullable and column.name not in found[table.name]
    ]
    if lacking:
        raise InputError(
            f"Cannot open the store {where!r}",
            needs="its tables must be Georgia's own",
            got=f"ones without {', '.join(lacking[:5])}",
            hint="Name another store.",
        )


def prepare(connection: Connection, where: str) -> None:
    """Make what an empty database lacks, or add what an earlier version of the store lacks.

    Raises:
        InputError: the database holds something else.
    """
    found = find_columns(connection)
    is_file = connection.dialect.name == "sqlite"
    is_taken = inspect(connection).get_table_names() if is_file else found
    if is_taken:
        check_store(found, connection, where)
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        for column in table.columns if table.name in found else ():
            if column.name not in found[table.name]:
                clause = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f'ALTER TABLE "{table.name}" ADD COLUMN {clause}'))
    if "about" not in found:
        connection.execute(insert(properties).values(name="schema", value=SCHEMA_VERSION))
