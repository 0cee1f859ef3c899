"""Users in the store: names, passwords, lock-out, sessions, tokens, signatures, and their record."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.helpers import people

from georgia.errors import InputError
from georgia.monitor import tables
from georgia.monitor.backup import back_up
from georgia.monitor.connect import reading
from georgia.monitor.people import passwords, sessions, signatures, tokens, users
from georgia.monitor.people.names import check_name, make_key
from georgia.monitor.people.roles import Meaning, Method, Right, Role, may
from georgia.monitor.people.sessions import Denial, LoginRules, Visitor
from georgia.monitor.queries import StoreReader
from georgia.monitor.released_batches import LIMITS_TAKEN, SIGNED, released_batches
from georgia.monitor.store import Store
from georgia.monitor.verify import verify_store

RULES = LoginRules()
HOME = Visitor("10.0.0.7")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)


@pytest.fixture
def clock() -> people.Clock:
    return people.Clock()


@pytest.fixture
def store(tmp_path: Path, clock: people.Clock) -> Iterator[Store]:
    store = Store(str(tmp_path / "m.db"), clock)
    people.add_person(store, "Ada", Role.ADMINISTRATOR)
    people.add_person(store, "Rita", Role.REVIEWER)
    yield store
    store.close()


def attempt(
    store: Store, clock: people.Clock, name: str, password: str, visitor: Visitor = HOME
) -> sessions.LogIn:
    return sessions.log_in(store, name, password, visitor, RULES, clock())


def actions(store: Store, limit: int = 1) -> list[str]:
    return [event.action for event in store.audit_log(limit=limit)]


# Names


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "1 to 60 characters"),
        ("x" * 61, "1 to 60 characters"),
        ("=cmd()", "begins and ends with"),
        ("-Ann", "begins and ends with"),
        (",Ann", "begins and ends with"),
        ("Ann\u202eevil", "letters, digits, spaces"),
        ("Ann\u200bB", "letters, digits, spaces"),
        ("Ann\x07B", "letters, digits, spaces"),
        ("Ann (client MES)", "begins and ends with"),
        ("Ann (c) B", "letters, digits, spaces"),
        ("\u0410nna", "letters of one alphabet"),
        ("georgia", "does not use itself"),
        ("GEORGI\u0410"[:6] + "A.", "does not use itself"),
    ],
)
def test_name_is_rejected(name: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        check_name(name)


def test_names_taken_for_each_other_are_one(store: Store) -> None:
    assert check_name("  Miller, Anna ") == "Miller, Anna"
    assert check_name("Zoe\u0308") == "Zo\u00eb"
    for alike in ("ADA", "a.d.a", "\uff21da", "A d a", "\u0410\u0501\u0430"):
        assert make_key(alike) == make_key("Ada"), alike
        with pytest.raises(InputError, match="looks like 'Ada'"):
            store.write(lambda change, name=alike: users.add_user(change, name, Role.VIEWER, "x" * 20, "t"))
    assert make_key("Zoë") != make_key("Zoe")


# Passwords


def test_password_rules_name_no_password() -> None:
    faults = {
        "short": "15 to 1,024 characters",
        "x" * 1025: "15 to 1,024",
        "a" * 20: "5 different characters",
        "my name is ADA M. you know": "without the user's name",
        "a tab\tinside of this": "can be typed",
    }
    for password, fault in faults.items():
        with pytest.raises(InputError, match=fault) as error:
            passwords.check_password(password, "Ada M.")
        assert password not in str(error.value)


def test_password_may_be_typed_in_any_form() -> None:
    composed = "  Zürich\u00a0ist schön, 日本 "
    hashed = passwords.hash_password(passwords.check_password(composed, "Ada"))
    assert passwords.is_password("  Zu\u0308rich ist scho\u0308n, 日本 ", hashed)
    assert not passwords.is_password(composed.strip(), hashed)
    assert not passwords.is_password("x" * 2**20, hashed)
    assert not passwords.is_password("", "")
    assert hashed.startswith("$argon2id$")
    assert len({passwords.make_password() for _ in range(50)}) == 50


# Log-in


def test_log_in_makes_session_and_forgets_one_before(store: Store, clock: people.Clock) -> None:
    first = attempt(store, clock, "ADA", people.PASSWORD)
    second = attempt(store, clock, "Ada", people.PASSWORD, Visitor("10.0.0.7", first.device, first.secret))
    with reading(store.engine) as connection:
        assert sessions.find_session(connection, first.secret, RULES, clock()) is None
        found = sessions.find_session(connection, second.secret, RULES, clock())
    assert found is not None
    assert (found.user.name, second.device) == ("Ada", first.device)
    rows = Path(str(store.engine.url.database)).read_bytes()
    assert first.secret.encode() not in rows


@pytest.mark.parametrize(
    ("forward_s", "holds"),
    [(14 * 60, True), (16 * 60, False), (13 * 3600, False), (-60, True), (-3600, False)],
)
def test_session_ends_by_time_and_by_clock_set_back(
    store: Store, clock: people.Clock, forward_s: float, holds: bool
) -> None:
    found = attempt(store, clock, "Ada", people.PASSWORD)
    with reading(store.engine) as connection:
        later = sessions.find_session(connection, found.secret, RULES, clock() + forward_s)
    assert (later is not None) is holds


@pytest.mark.slow
def test_session_used_all_day_ends_at_last(store: Store, clock: people.Clock) -> None:
    found = attempt(store, clock, "Ada", people.PASSWORD)
    for _ in range(80):
        clock.at_s += 600
        with reading(store.engine) as connection:
            session = sessions.find_session(connection, found.secret, RULES, clock())
        if session is None:
            break
        sessions.use_session(store, session, clock())
    assert clock() - found.session.begun_at_s == pytest.approx(12 * 3600 + 600)


def test_every_denial_is_recorded_and_alike(store: Store, clock: people.Clock) -> None:
    store.write(lambda change: users.add_user(change, "Otto", Role.OPERATOR, "one-time password 1", "t"))
    store.write(lambda change: users.disable_user(change, "Otto", "t"))
    denials = [
        attempt(store, clock, name, password).denial
        for name, password in (
            ("Rita", "wrong"),
            ("Otto", "one-time password 1"),
            ("nobody", "hunter2hunter2x"),
        )
    ]
    assert denials == [Denial.WRONG, Denial.DISABLED, Denial.UNKNOWN]
    assert [event.detail["reason"] for event in store.audit_log(limit=3)] == list(reversed(denials))
    assert "hunter2" not in json.dumps([event.to_json_dict() for event in store.audit_log(limit=99)])


def test_one_time_password_is_too_old(store: Store, clock: people.Clock) -> None:
    store.write(lambda change: users.add_user(change, "Otto", Role.OPERATOR, "one-time password 1", "t"))
    clock.at_s += 73 * 3600
    assert attempt(store, clock, "Otto", "one-time password 1").denial == Denial.EXPIRED


def test_guesses_lock_out_one_address_only(store: Store, clock: people.Clock) -> None:
    known = attempt(store, clock, "Ada", people.PASSWORD)
    thief, desk = Visitor("6.6.6.6"), Visitor("6.6.6.6", known.device)
    denials = [attempt(store, clock, "Ada", "wrong", thief).denial for _ in range(7)]
    assert denials == [Denial.WRONG] * 5 + [Denial.LOCKED] * 2
    assert actions(store, 2) == ["locked out", "log-in failed"]
    assert attempt(store, clock, "Ada", people.PASSWORD, thief).denial == Denial.LOCKED
    # The only administrator is not locked out elsewhere, nor at the same address in the own browser.
    assert attempt(store, clock, "Ada", people.PASSWORD, Visitor("10.1.1.1")).session
    assert attempt(store, clock, "Ada", people.PASSWORD, desk).session
    clock.at_s += 16 * 60
    assert attempt(store, clock, "Ada", people.PASSWORD, thief).session


@pytest.mark.slow
def test_many_addresses_lock_out_user_but_not_own_browser(store: Store, clock: people.Clock) -> None:
    known = attempt(store, clock, "Ada", people.PASSWORD)
    for number in range(40):
        attempt(store, clock, "Ada", "wrong", Visitor(f"6.6.6.{number}"))
    assert attempt(store, clock, "Ada", people.PASSWORD, Visitor("10.1.1.1")).denial == Denial.LOCKED
    assert attempt(store, clock, "Ada", people.PASSWORD, Visitor("6.6.6.6", known.device)).session
    assert attempt(store, clock, "Rita", people.PASSWORD, Visitor("10.1.1.1")).session
    # Beyond the lock nothing is written: whoever guesses does not fill the store.
    n_failed = sum(event.action == "log-in failed" for event in store.audit_log(limit=500))
    assert n_failed == 20
    user = next(iter(users_of(store)))
    store.write(lambda change: users.end_lockout(change, user, "t"))
    assert attempt(store, clock, "Ada", people.PASSWORD, Visitor("10.1.1.1")).session


def test_unknown_names_lock_out_address_and_are_told_once(store: Store, clock: people.Clock) -> None:
    for number in range(30):
        attempt(store, clock, f"name {number}", "wrong", Visitor("6.6.6.6"))
    assert attempt(store, clock, "Ada", people.PASSWORD, Visitor("6.6.6.6")).denial == Denial.LOCKED
    assert sum(event.action == "log-in failed" for event in store.audit_log(limit=500)) == 1


def users_of(store: Store) -> list[users.User]:
    with reading(store.engine) as connection:
        return users.list_users(connection)


# Changes


@pytest.mark.parametrize("change", ["role", "reset", "disable", "password"])
def test_change_of_user_ends_sessions(store: Store, clock: people.Clock, change: str) -> None:
    found = attempt(store, clock, "Rita", people.PASSWORD)
    rita = users_of(store)[1]
    row = {}
    with reading(store.engine) as connection:
        row = dict(users.find_row(connection, "Rita") or {})
    work = {
        "role": lambda c: users.set_role(c, "rita", Role.VIEWER, "t"),
        "reset": lambda c: users.reset_password(c, "rita", "another one-time 1", "t"),
        "disable": lambda c: users.disable_user(c, "rita", "t", "left"),
        "password": lambda c: users.change_password(c, rita, row["password_hash"], "a new and long one"),
    }
    store.write(work[change])
    with reading(store.engine) as connection:
        assert sessions.find_session(connection, found.secret, RULES, clock()) is None
    told = {"role": "user role changed", "reset": "password reset", "disable": "user disabled"}
    assert actions(store) == [told.get(change, "password changed")]


def test_last_administrator_stays(store: Store) -> None:
    for work in (
        lambda change: users.disable_user(change, "Ada", "t"),
        lambda change: users.set_role(change, "Ada", Role.VIEWER, "t"),
    ):
        with pytest.raises(InputError, match="administrator must be left"):
            store.write(work)


def test_first_user_is_an_administrator(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "n.db"))
    with pytest.raises(InputError, match="first user must be an administrator"):
        store.write(lambda change: users.add_user(change, "Rita", Role.REVIEWER, "x" * 20, "t"))
    assert users_of(store) == []
    store.close()


def test_log_in_while_user_changes_is_denied(store: Store, clock: people.Clock) -> None:
    with reading(store.engine) as connection:
        row = users.find_row(connection, "Rita")
    store.write(lambda change: users.disable_user(change, "Rita", "t"))
    assert row is not None
    found = store.write(lambda change: sessions.begin_session(change, row, HOME))
    assert found.denial == Denial.CHANGED


# Tokens


def test_token_is_known_by_hash_until_revoked(store: Store, clock: people.Clock) -> None:
    secret, token = store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t", 2))
    with reading(store.engine) as connection:
        assert tokens.find_token(connection, secret, clock()) == token
        assert tokens.find_token(connection, secret, clock() + 3 * 86_400) is None
        assert tokens.find_token(connection, f"{secret}x", clock()) is None
    with pytest.raises(InputError, match="no other token"):
        store.write(lambda change: tokens.add_token(change, "m.e.s", Role.VIEWER, "t"))
    with pytest.raises(InputError, match="viewer or operator"):
        store.write(lambda change: tokens.add_token(change, "LIMS", Role.REVIEWER, "t"))
    store.write(lambda change: tokens.revoke_token(change, "mes", "t"))
    with reading(store.engine) as connection:
        assert tokens.find_token(connection, secret, clock()) is None
    assert secret.encode() not in Path(str(store.engine.url.database)).read_bytes()


# Signatures and the record


def test_signature_is_bound_to_batch_and_head(store: Store) -> None:
    batch = store.begin_batch("probe", "B-1", "A", "PG", "t")
    rita = users_of(store)[1]
    with pytest.raises(InputError, match="a batch that has ended"):
        store.write(lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.RELEASE))
    store.end_batch(batch.id, "t")
    head = store.head()
    with pytest.raises(InputError, match="role reviewer is needed"):
        store.write(
            lambda change: signatures.sign_batch(change, batch.id, users_of(store)[0], Meaning.REVIEW)
        )
    with pytest.raises(InputError, match="a reason is needed"):
        store.write(lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.REJECTION))
    signed = store.write(lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.RELEASE, "ok"))
    assert (signed.who, signed.head, signed.meaning) == ("Rita", head, Meaning.RELEASE)
    store.write(
        lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.REJECTION, "late result")
    )
    store.append_event("t", "entry withdrawn", {}, batch.id)
    with reading(store.engine) as connection:
        found = signatures.list_signatures(connection, batch.id)
        assert [signatures.count_later(connection, each) for each in found] == [1, 1]
    assert signatures.find_decision(found).meaning == Meaning.REJECTION
    assert verify_store(store).is_whole


def test_released_batches_follow_the_last_decision(store: Store) -> None:
    rita = users_of(store)[1]
    batches = [store.begin_batch("probe", f"B-{number}", "A", "PG", "t") for number in range(6)]
    for batch in batches:
        store.end_batch(batch.id, "t")
    taken, signed, rejected, unwanted, reviewed, again = (batch.id for batch in batches)

    def sign(batch_id: int, meaning: Meaning, note: str = "") -> None:
        store.write(lambda change: signatures.sign_batch(change, batch_id, rita, meaning, note))

    # A monitor began with the limits of these.
    for number in (taken, unwanted):
        store.append_event("t", "limits set", {"from_batch": number}, number)
    sign(signed, Meaning.RELEASE)
    sign(signed, Meaning.REVIEW)
    sign(rejected, Meaning.RELEASE)
    sign(rejected, Meaning.REJECTION, "late result")
    sign(unwanted, Meaning.REJECTION, "wrong solvent")
    sign(reviewed, Meaning.APPROVAL)
    sign(again, Meaning.REJECTION, "wrong file")
    sign(again, Meaning.RELEASE)
    assert released_batches(store) == {taken: LIMITS_TAKEN, signed: SIGNED, again: SIGNED}
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE people_signatures SET meaning = 'perhaps'"))
    with pytest.raises(InputError, match=r"cannot be read|damaged|altered"):
        released_batches(store)


def test_signature_of_a_store_without_its_method_is_read(store: Store, tmp_path: Path) -> None:
    batch = store.begin_batch("probe", "B-1", "A", "PG", "t")
    store.end_batch(batch.id, "t")
    rita = users_of(store)[1]
    store.write(lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.RELEASE))
    copy = tmp_path / "earlier.db"
    back_up(str(tmp_path / "m.db"), str(copy))
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("ALTER TABLE people_signatures DROP COLUMN method")
    earlier = StoreReader.open(str(copy))
    with reading(earlier.engine) as connection:
        found = signatures.list_signatures(connection)
    assert [(each.meaning, each.method) for each in found] == [(Meaning.RELEASE, Method.PASSWORD)]
    assert released_batches(earlier) == {batch.id: SIGNED}
    # It was written with one, so the record says that something is missing.
    assert not verify_store(earlier).is_whole
    earlier.close()


EDITS = {
    "name": "UPDATE people_signatures SET who = 'Ada'",
    "method": "UPDATE people_signatures SET method = NULL",
    "meaning": "UPDATE people_signatures SET meaning = 'review'",
    "removed": "DELETE FROM people_signatures",
    "role": "UPDATE people_users SET role = 'administrator' WHERE name = 'Rita'",
    "password": "UPDATE people_users SET password_hash = (SELECT password_hash FROM people_users LIMIT 1)",
    "token": "UPDATE people_tokens SET expires_at_s = NULL",
    "user": "INSERT INTO people_users SELECT 99, 'Eve', 'eve', role, password_hash, 0, 1.0, 1.0, NULL, NULL "
    "FROM people_users LIMIT 1",
}


@pytest.mark.slow
def test_every_edit_past_the_program_is_found(store: Store, tmp_path: Path) -> None:
    batch = store.begin_batch("probe", "B-1", "A", "PG", "t")
    store.end_batch(batch.id, "t")
    rita = users_of(store)[1]
    store.write(lambda change: signatures.sign_batch(change, batch.id, rita, Meaning.RELEASE))
    store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t", 2))
    for name, script in EDITS.items():
        copy = tmp_path / f"{name}.db"
        back_up(str(tmp_path / "m.db"), str(copy))
        altered = Store(str(copy))
        assert verify_store(altered).is_whole
        with altered.engine.begin() as connection:
            connection.execute(text(script))
        found = verify_store(altered)
        assert not found.is_whole, name
        altered.close()


def test_backup_holds_people_and_no_session(store: Store, tmp_path: Path, clock: people.Clock) -> None:
    found = attempt(store, clock, "Ada", people.PASSWORD)
    attempt(store, clock, "Ada", "wrong")
    made = back_up(str(tmp_path / "m.db"), str(tmp_path / "copy.db"))
    assert made.is_whole
    copy = Store(str(tmp_path / "copy.db"), clock)
    with reading(copy.engine) as connection:
        assert [user.name for user in users.list_users(connection)] == ["Ada", "Rita"]
        assert sessions.find_session(connection, found.secret, RULES, clock()) is None
        assert connection.execute(tables.people_failures.select()).first() is None
    copy.close()


def test_no_hash_and_no_secret_in_the_audit_log(store: Store, clock: people.Clock) -> None:
    found = attempt(store, clock, "Ada", people.PASSWORD)
    store.write(lambda change: users.reset_password(change, "Rita", "another one-time 1", "t"))
    secret, _ = store.write(lambda change: tokens.add_token(change, "MES", Role.OPERATOR, "t"))
    told = json.dumps([event.to_json_dict() for event in store.audit_log(limit=500)])
    for text_ in ("argon2", found.secret, found.device, secret, people.PASSWORD, "another one-time 1"):
        assert text_ not in told


def test_store_of_earlier_version_gets_its_tables(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "m.db"))
    store.begin_batch("probe", "B-1", "A", "PG", "t")
    with store.engine.begin() as connection:
        for name in ("signatures", "tokens", "sessions", "failures", "users"):
            connection.execute(text(f"DROP TABLE people_{name}"))
    store.close()
    reader = StoreReader.open(str(tmp_path / "m.db"))
    assert verify_store(reader).is_whole
    reader.close()
    store = Store(str(tmp_path / "m.db"))
    people.add_person(store, "Ada", Role.ADMINISTRATOR)
    assert verify_store(store).is_whole
    store.close()


def test_administrator_changes_nothing_of_a_batch() -> None:
    assert not any(may(Role.ADMINISTRATOR, right) for right in (Right.OPERATE, Right.DECIDE, Right.SIGN))
