"""Alarms and outages by e-mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from georgia.errors import InputError
from georgia.monitor.sender import FIRST_WAIT_S, NotTakenError, OnFault, Receipts, Sender, ignore_fault
from georgia.monitor.settings import MailConfig

if TYPE_CHECKING:
    from georgia.monitor.store import Store

_TIMEOUT_S = 20.0
# Ports of RFC 8314 and RFC 6409, where the address names none.
_PORTS = {"smtps": 465, "smtp": 587, "smtp+plain": 25}


class Mailer(Sender):
    """Sends all messages that wait as one e-mail: a flickering outage is no flood.

    Args:
        config: server and addresses.
        store: holds the alarms.
        link: address of the page.
        receipts: shared by all senders of a monitor.
        first_wait_s: before the second attempt.
        on_fault: see ``Sender``.
        probe: see ``Sender``.

    Raises:
        InputError: the file of the password cannot be read.
    """

    def __init__(
        self,
        config: MailConfig,
        store: Store,
        link: str = "",
        receipts: Receipts | None = None,
        first_wait_s: float = FIRST_WAIT_S,
        on_fault: OnFault = ignore_fault,
        probe: str = "",
    ) -> None:
        super().__init__("mail server", store, link, receipts, first_wait_s, on_fault, probe)
        self._config = config
        parts = urlsplit(config.mail_server)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = read_password(config.mail_password) if config.mail_password else ""
        self.start()

    def hand_on(self, messages: Sequence[dict[str, Any]]) -> int:
        """Send one e-mail that tells all messages.

        Raises:
            NotTakenError: the server cannot be reached, shows no certificate that holds, or rejects.
        """
        letter = EmailMessage()
        letter["From"] = self._config.mail_from
        letter["To"] = self._config.mail_to
        letter["Date"] = formatdate(localtime=True)
        letter["Message-ID"] = make_msgid(domain="georgia.invalid")
        # Machines that are away do not reply to machines.
        letter["Auto-Submitted"] = "auto-generated"
        lines = [describe_message(message) for message in messages]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        letter["Subject"] = f"Georgia: {lines[-1]}"[:150] + more
        last = messages[-1]
        closing = [f"Page: {last['link']}" if last["link"] else "", f"Head of the record: {last['head']}"]
        letter.set_content("\n".join([*lines, "", *filter(None, closing)]) + "\n")
        try:
            with self._connect() as server:
                if self._user:
                    server.login(self._user, self._password)
                rejected = server.send_message(letter)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotTakenError(_describe_failure(error)) from error
        if rejected:
            raise NotTakenError(f"it rejects {', '.join(sorted(rejected))}")
        return len(messages)

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self._config.mail_authority or None)
        if self._scheme == "smtps":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT_S, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_S)
        if self._scheme == "smtp":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


def read_password(file: str) -> str:
    """Return the first line of a file.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(
            f"Cannot read the password {file!r}", needs="a file with one line is needed", got=reason
        ) from error
    if not lines or not lines[0]:
        raise InputError(f"Cannot read the password {file!r}", needs="a line is needed", got="none")
    return lines[0]


def describe_message(message: dict[str, Any]) -> str:
    """Return a message as one line for people."""
    alarm, outage = message["alarm"], message.get("outage")
    if alarm is not None:
        text = f"alarm {message['change']} in batch {alarm['batch_name']}: {alarm['reason']}"
    elif outage is not None:
        lasted = f" after {outage['seconds']:.0f} s" if outage.get("seconds") is not None else ""
        text = f"{message['change']}{lasted}: {outage['outage']} ({outage['reason']})"
    else:
        text = str(message["change"])
    text = f"{message['probe']}: {text}" if message.get("probe") else text
    return " ".join(text.split())  # a reason with line breaks would be further header lines


def _describe_failure(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"it rejects {', '.join(sorted(error.recipients))}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"it does not know this user and password ({error.smtp_code})"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"{error} Use smtps://, or smtp+plain:// in a network that nobody else reads"
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        said = text.decode(errors="replace") if isinstance(text, bytes) else text
        return f"it replies {error.smtp_code} {said}"
    return str(error) or type(error).__name__
