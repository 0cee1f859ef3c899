"""``georgia users``: who may log in to the service of a store, with which role; tokens of clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import ConfigOption, JsonOption, StoreOption, make_config
from georgia.errors import InputError, mask_credentials

if TYPE_CHECKING:
    from georgia.monitor.people.roles import Role
    from georgia.monitor.people.users import UsersAction
    from georgia.monitor.store import Store

_ACTIONS = "add, list, role, reset, unlock, disable, token, or revoke."


def run(
    action: Annotated[str, typer.Argument(help=_ACTIONS)],
    name: Annotated[
        str, typer.Argument(help="Of the user; with token and revoke, of the client.", show_default=False)
    ] = "",
    db: StoreOption = None,
    role: Annotated[
        str | None,
        typer.Option(help="viewer, operator, reviewer or administrator; of a client the first two."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="With token: how long it holds.  [until it is revoked]")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; recorded in the audit log.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say who may log in to the page of a store, and which programs may use its REST service.

    \b
    Examples:
      georgia users add "A. Miller" --role administrator --db batch.db
      georgia users add "R. Weber" --role reviewer --db batch.db
      georgia users list --db batch.db
      georgia users role "R. Weber" --role operator --db batch.db
      georgia users reset "R. Weber" --db batch.db
      georgia users token MES --role operator --days 365 --db batch.db
      georgia users revoke MES --db batch.db
    The first user, an administrator, makes people log in: the service's own token is not taken any more.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.monitor.people.users import UsersAction, UsersConfig

    settings = make_config(UsersConfig, config, "users", {"db": db})
    if action not in list(UsersAction):
        raise InputError("Cannot do that with users", needs=f"one of {_ACTIONS[:-1]} is needed", got=action)
    asked = UsersAction(action)
    _check_given(asked, name, days)
    if asked == UsersAction.LIST:
        return _show_list(settings.db, as_json)
    wanted = _read_role(asked, role)
    store = _open(settings.db, is_new=asked == UsersAction.ADD)
    try:
        shown = _do(store, asked, name, wanted, days, reason)
    finally:
        store.close()
    if as_json:
        console.show_json(shown)
        return console.DONE
    for key, value in shown.items():
        if key not in ("note", "is_first"):
            console.show_line(f"{key}: {value}")
    if shown.get("note"):
        console.show_note(str(shown["note"]))
    return console.DONE


def _check_given(action: UsersAction, name: str, days: float | None) -> None:
    if action == "list" and name:
        hint = "The store is named by --db: georgia users list --db batch.db."
        raise InputError("Cannot list", needs="no name is needed", got=repr(name), hint=hint)
    if action != "list" and not name.strip():
        hint = f'Example: georgia users {action} "A. Miller".'
        raise InputError(f"Cannot {action}", needs="a name is needed", got="none", hint=hint)
    if action != "token" and days is not None:
        raise InputError(f"Cannot {action}", needs="no --days is needed", got=days)


def _read_role(action: str, role: str | None) -> Role | None:
    from georgia.monitor.people.roles import Role

    needs_role = action in ("add", "role", "token")
    if (role is None) == needs_role or (role is not None and role not in list(Role)):
        needs = f"--role, one of {', '.join(Role)}, is needed" if needs_role else "no --role is needed"
        raise InputError(f"Cannot {action}", needs=needs, got=role or "none")
    return Role(role) if role else None


def _open(db: str, is_new: bool) -> Store:
    """Open the store; only to add a user one is made."""
    from georgia.cli.verify import open_existing, open_store_named

    if not is_new:
        open_existing(db).close()
    return open_store_named(db)


def _do(
    store: Store, action: str, name: str, role: Role | None, days: float | None, reason: str
) -> dict[str, Any]:
    from georgia.cli.monitor import read_who
    from georgia.monitor.people import tokens, users
    from georgia.monitor.people.passwords import make_password
    from georgia.monitor.seals import Change

    who, one_time = read_who(), make_password()
    if action in ("token", "revoke"):
        if role is None:
            token = store.write(lambda change: tokens.revoke_token(change, name, who))
            return {"client": token.name, "revoked": str(token.to_json_dict()["revoked_at"])}
        wanted = role
        secret, token = store.write(lambda change: tokens.add_token(change, name, wanted, who, days))
        until = token.to_json_dict()["expires_at"] or "it is revoked"
        note = "Keep the token now: it is shown this once. The store holds its hash alone."
        return {"client": token.name, "role": str(token.role), "until": until, "token": secret, "note": note}
    changes: dict[str, Callable[[Change], Any]] = {
        "add": lambda change: users.add_user(change, name, role, one_time, who),  # type: ignore[arg-type]
        "role": lambda change: users.set_role(change, name, role, who),  # type: ignore[arg-type]
        "reset": lambda change: users.reset_password(change, name, one_time, who),
        "unlock": lambda change: users.end_lockout(change, users.find_user(change.connection, name), who),
        "disable": lambda change: users.disable_user(change, name, who, reason),
    }
    store.write(changes[action])
    found = next(user for user in _list(store)["users"] if _is_same(user["name"], name))
    state = "enabled" if found["is_enabled"] else "disabled"
    shown: dict[str, Any] = {"user": found["name"], "role": found["role"], "state": state}
    if action not in ("add", "reset"):
        return shown
    note = "It is shown this once, and is replaced at the first log-in, within 72 h."
    if action == "add" and len(_list(store)["users"]) == 1:
        note += " From now on people log in: the service's own token is not taken any more."
    return {**shown, "one-time password": one_time, "note": note}


def _is_same(name: str, given: str) -> bool:
    from georgia.monitor.people.names import make_key

    return make_key(name) == make_key(given)


def _list(store: Any) -> dict[str, list[dict[str, Any]]]:
    from georgia.monitor import tables
    from georgia.monitor.connect import reading
    from georgia.monitor.people.tokens import list_tokens
    from georgia.monitor.people.users import list_users

    if not store.has(tables.people_users):  # a store of an earlier version
        return {"users": [], "tokens": []}
    with reading(store.engine) as connection:
        return {
            "users": [user.to_json_dict() for user in list_users(connection)],
            "tokens": [token.to_json_dict() for token in list_tokens(connection)],
        }


def _show_list(db: str, as_json: bool) -> int:
    from georgia.cli.verify import open_existing

    store = open_existing(db)
    try:
        found = _list(store)
    finally:
        store.close()
    if as_json:
        console.show_json(found)
        return console.DONE
    if not found["users"]:
        console.show_line(f"no users in {mask_credentials(db)}: nobody logs in, and changes need the token.")
        return console.DONE
    for user in found["users"]:
        state = "" if user["is_enabled"] else f", disabled {user['disabled_at']}"
        state += ", one-time password not replaced" if user["is_temporary"] and user["is_enabled"] else ""
        console.show_line(f"{user['name']}: {user['role']}{state}")
    for token in found["tokens"]:
        state = f", revoked {token['revoked_at']}" if token["revoked_at"] else ""
        until = f", until {token['expires_at']}" if token["expires_at"] else ""
        console.show_line(f"client {token['name']}: {token['role']}{until}{state}")
    return console.DONE
