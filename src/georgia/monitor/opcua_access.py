"""Who may read the OPC UA server: certificates, encryption, user names."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from georgia.errors import InputError
from georgia.monitor.settings import OpcuaConfig, OpcuaPolicy

if TYPE_CHECKING:
    from asyncua.server.server import Server


class Users:
    """The names and passwords that are let in; without any, everybody is. Nobody may change anything.

    asyncua's own manager takes whoever calls himself "admin" for an administrator.
    """

    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> Any:
        """Return the user, None where the name or the password is wrong."""
        from asyncua.crypto.permission_rules import User, UserRole

        if not self._passwords:
            return User(role=UserRole.User, name=username)
        expected = self._passwords.get(username or "")
        given = password.decode("utf-8", "replace") if isinstance(password, bytes) else str(password or "")
        # Compared even where there is no such name: the time tells nothing.
        is_right = hmac.compare_digest(given.encode(), (expected or "").encode())
        return User(role=UserRole.User, name=username) if expected and is_right else None


def read_users(file: str) -> dict[str, str]:
    """Return passwords by name of a file with ``NAME:PASSWORD`` a line; lines with # in front are left out.

    Raises:
        InputError: it cannot be read, or a line is of another form; the line itself is not shown.
    """
    if not file:
        return {}
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot_use("opcua_users", file, "NAME:PASSWORD a line is needed", error) from error
    users: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, password = line.strip().partition(":")
        if not line.strip() or line.startswith("#"):
            continue
        if not (name and colon and password):
            needs = "NAME:PASSWORD a line is needed"
            raise _cannot_use("opcua_users", file, needs, f"something else in line {number}")
        users[name] = password
    if not users:
        raise _cannot_use("opcua_users", file, "NAME:PASSWORD a line is needed", "none")
    return users


async def protect(server: Server, access: OpcuaConfig) -> None:
    """Give a server its certificate and policy, before it starts.

    Raises:
        InputError: a certificate or a key cannot be used.
    """
    from asyncua import ua

    kinds = ua.SecurityPolicyType
    if access.opcua_policy == OpcuaPolicy.NONE:
        server.set_security_policy([kinds.NoSecurity])
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        return
    try:
        await server.load_certificate(access.opcua_certificate)
    except (OSError, ValueError) as error:
        needs = "a certificate (DER, or PEM under .pem) is needed"
        raise _cannot_use("opcua_certificate", access.opcua_certificate, needs, error) from error
    try:
        await server.load_private_key(access.opcua_private_key)
    except (OSError, ValueError, TypeError) as error:
        needs = "a private key without a password (PEM under .pem) is needed"
        raise _cannot_use("opcua_private_key", access.opcua_private_key, needs, error) from error
    await server.set_application_uri(read_uri(server.iserver.certificate) or server.get_application_uri())
    encrypted = [kinds.Basic256Sha256_SignAndEncrypt]
    is_signed = access.opcua_policy == OpcuaPolicy.SIGN
    server.set_security_policy([kinds.Basic256Sha256_Sign, *encrypted] if is_signed else encrypted)
    named = ua.UserNameIdentityToken if access.opcua_users else ua.AnonymousIdentityToken
    server.set_identity_tokens([named])
    if access.opcua_trusted:
        server.set_certificate_validator(_trusting(await _read_trusted(Path(access.opcua_trusted))))


def read_uri(certificate: Any) -> str:
    """Return the application's URI that a certificate names; clients compare the two."""
    from asyncua.crypto import uacrypto

    x509: Any = vars(uacrypto)["x509"]  # cryptography's, which asyncua needs and we do not declare
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")


def _to_bytes(certificate: Any) -> bytes:
    from asyncua.crypto import uacrypto

    return bytes(uacrypto.der_from_x509(certificate))  # type: ignore[no-untyped-call]


async def _read_trusted(folder: Path) -> set[bytes]:
    from asyncua.crypto.uacrypto import load_certificate

    found = set()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in (".der", ".pem", ".crt", ".cer"):
            try:
                found.add(_to_bytes(await load_certificate(path)))
            except (OSError, ValueError) as error:
                raise _cannot_use("opcua_trusted", str(path), "a certificate is needed", error) from error
    if not found:
        needs = "a folder with clients' certificates (.der, .pem) is needed"
        raise _cannot_use("opcua_trusted", str(folder), needs, "none")
    return found


def _trusting(known: set[bytes]) -> Any:
    from asyncua.common.utils import ServiceError
    from asyncua.ua.status_codes import StatusCodes

    async def validate(certificate: Any, _: Any) -> None:
        now = datetime.now(UTC)
        if _to_bytes(certificate) not in known:
            raise ServiceError(StatusCodes.BadCertificateUntrusted)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ServiceError(StatusCodes.BadCertificateTimeInvalid)

    return validate


def _cannot_use(setting: str, file: str, needs: str, got: object) -> InputError:
    reason = getattr(got, "strerror", None) or got
    return InputError(f"Cannot serve OPC UA with {setting} {file!r}", needs=needs, got=reason)
