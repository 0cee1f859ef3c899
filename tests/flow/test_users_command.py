"""``georgia users`` from arguments to a store: what it prints, rejects, and never prints again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers import people

pytest.importorskip("sqlalchemy")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    people.hash_quickly(monkeypatch)


def test_users_are_added_listed_and_disabled(georgia: Any, tmp_path: Path) -> None:
    db = ("--db", str(tmp_path / "m.db"))
    code, _, err = georgia("users", "add", "Rita", "--role", "reviewer", *db)
    assert (code, "first user must be an administrator" in err) == (2, True)
    code, ada, _ = georgia("users", "add", "Ada", "--role", "administrator", *db)
    assert (code, ada["user"], len(ada["one-time password"])) == (0, "Ada", 23)
    assert "not taken any more" in ada["note"]
    code, rita, _ = georgia("users", "add", "Rita", "--role", "operator", *db)
    assert "not taken" not in rita["note"]
    code, token, _ = georgia("users", "token", "MES", "--role", "viewer", "--days", "1", *db)
    assert token["token"].startswith("georgia_")
    for args in (
        ("role", "rita", "--role", "reviewer"),
        ("unlock", "Rita"),
        ("disable", "Rita"),
        ("revoke", "MES"),
    ):
        assert georgia("users", *args, *db)[0] == 0, args
    code, found, _ = georgia("users", "list", *db)
    assert [(user["name"], user["role"], user["is_enabled"]) for user in found["users"]] == [
        ("Ada", "administrator", True),
        ("Rita", "reviewer", False),
    ]
    assert found["tokens"][0]["revoked_at"]
    for secret in (ada["one-time password"], token["token"], "argon2"):
        assert secret not in str(found)
    code, again, _ = georgia("users", "reset", "Rita", *db)
    assert (again["state"], again["one-time password"] != rita["one-time password"]) == ("enabled", True)
    assert georgia("verify", db[1])[0] == 0


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("list", "other.db"), "no name is needed"),
        (("add", "Ada", "--role", "administrator", "--days", "3"), "no --days is needed"),
        (("lst",), "add, list, role, reset"),
        (("add", "Ada"), "--role, one of viewer"),
        (("add", "Ada", "--role", "boss"), "one of viewer"),
        (("add", "--role", "viewer"), "a name is needed"),
        (("disable", "Ada", "--role", "viewer"), "no --role is needed"),
        (("reset", "Ada"), "it must exist"),
        (("list",), "it must exist"),
        (("add", "=Ada", "--role", "administrator"), "begins and ends with a letter"),
    ],
)
def test_wrong_request_is_one_line(georgia: Any, tmp_path: Path, args: tuple[str, ...], fault: str) -> None:
    code, _, err = georgia("users", *args, "--db", str(tmp_path / "m.db"))
    assert (code, fault in err) == (2, True), err
