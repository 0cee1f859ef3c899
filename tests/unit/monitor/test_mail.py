"""Alarms and outages by e-mail: one for all that wait, over TLS, sent again until the server takes it."""

from __future__ import annotations

import datetime
import re
import ssl
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.helpers.monitor import make_event, make_result, wait_for
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

from georgia.errors import InputError
from georgia.monitor.mail import Mailer, describe_message
from georgia.monitor.records import AlarmAction, AlarmChange
from georgia.monitor.sender import NotTakenError, Receipts
from georgia.monitor.settings import MailConfig, MonitorConfig
from georgia.monitor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "store.db"))
    batch = store.begin_batch("probe", "B-117", "Ann", "PG", "ann").id
    store.record_frame(make_result(1, batch), "probe", "{}", AlarmChange(AlarmAction.RAISED, "EWMA over"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and its key for 127.0.0.1 in one file, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Inbox:
    """A mail server that rejects so many e-mails, then takes them."""

    def __init__(self, certificate: Path) -> None:
        self.letters: list[Message] = []
        self.users: list[str] = []
        self.n_rejections = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.controller = Controller(
            self,
            hostname="localhost",
            port=free_port(),
            tls_context=context,
            require_starttls=True,
            authenticator=self._know,
            auth_required=True,
            ready_timeout=PATIENCE_S,
        )
        self.controller.start()
        self.address = f"smtp://ann%40plant@localhost:{self.controller.port}"

    def _know(self, _: Any, __: Any, ___: Any, ____: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(f"{data.login.decode()}:{data.password.decode()}")
        return AuthResult(success=data.password == b"pa55 word", handled=False)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        if self.n_rejections > 0:
            self.n_rejections -= 1
            return "451 try again later"
        self.letters.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def inbox(certificate: Path) -> Iterator[Inbox]:
    inbox = Inbox(certificate)
    yield inbox
    inbox.controller.stop()


@pytest.fixture
def config(inbox: Inbox, certificate: Path, tmp_path: Path) -> MailConfig:
    (tmp_path / "password").write_text("pa55 word\n")
    return MailConfig(
        mail_server=inbox.address,
        mail_to="Bob <bob@plant.example>, eve@plant.example",
        mail_from="georgia@plant.example",
        mail_password=str(tmp_path / "password"),
        mail_authority=str(certificate),
    )


def test_waiting_messages_are_one_letter(inbox: Inbox, config: MailConfig, store: Store) -> None:
    inbox.n_rejections = 1
    mailer = Mailer(config, store, "https://plant.example/probe", first_wait_s=0.02)
    detail = {"outage": "folder away", "change": "began", "reason": "gone\r\nBcc: x@y", "seconds": None}
    mailer(make_event("outage", detail=detail))
    wait_for(lambda: mailer.n_sent == 2)
    mailer.close()
    text = "".join(letter.get_payload(decode=True).decode() for letter in inbox.letters)
    assert "alarm raised in batch B-117: EWMA over" in text
    assert "outage began: folder away (gone Bcc: x@y)" in text
    assert "Page: https://plant.example/probe" in text
    assert re.search("Head of the record: [0-9]+:[0-9a-f]{64}\n", text.replace("\r", ""))
    assert [letter["To"] for letter in inbox.letters] == [config.mail_to] * len(inbox.letters)
    assert not any(letter["Bcc"] for letter in inbox.letters)
    assert store.alarm(1).notified_at_s is not None
    assert inbox.users[0] == "ann@plant:pa55 word"


def test_certificate_of_nobody_known_sends_nothing(inbox: Inbox, config: MailConfig, store: Store) -> None:
    unknown = MailConfig(**{**vars(config), "mail_authority": ""})
    mailer = Mailer(unknown, store, first_wait_s=0.02)
    wait_for(lambda: "certificate" in mailer.error)
    mailer.close()
    assert inbox.letters == []
    assert inbox.users == []
    assert store.alarm(1).notified_at_s is None


def test_server_without_tls_gets_no_password(store: Store, config: MailConfig, tmp_path: Path) -> None:
    plain = Controller(object(), hostname="localhost", port=free_port(), ready_timeout=PATIENCE_S)
    plain.start()
    try:
        wrong = MailConfig(**{**vars(config), "mail_server": f"smtp://ann@localhost:{plain.port}"})
        mailer = Mailer(wrong, store, first_wait_s=0.02)
        wait_for(lambda: "STARTTLS" in mailer.error)
        mailer.close()
    finally:
        plain.stop()


def test_wrong_password_is_named(inbox: Inbox, config: MailConfig, store: Store, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    mailer = Mailer(config, store, first_wait_s=0.02)
    wait_for(lambda: "does not know this user and password" in mailer.error)
    mailer.close()
    assert "wrong" not in mailer.error


def test_unreadable_password_is_told_before_work(config: MailConfig, store: Store, tmp_path: Path) -> None:
    for name, content in (("none", None), ("empty", "")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="Cannot read the password"):
            Mailer(MailConfig(**{**vars(config), "mail_password": str(tmp_path / name)}), store)


def test_alarm_counts_as_told_once_all_have_taken_it(store: Store) -> None:
    receipts = Receipts(store, 2)
    receipts.note(1)
    assert store.alarm(1).notified_at_s is None
    receipts.note(1)
    assert store.alarm(1).notified_at_s is not None


def test_fault_of_a_sender_is_an_error_and_no_end(
    inbox: Inbox, config: MailConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = [0]
    hand_on = Mailer.hand_on

    def fail_first(self: Mailer, messages: Any) -> int:
        n[0] += 1
        if n[0] == 1:
            raise KeyError("a bug")
        if n[0] == 2:
            raise NotTakenError("away")
        return hand_on(self, messages)

    monkeypatch.setattr(Mailer, "hand_on", fail_first)
    mailer = Mailer(config, store, first_wait_s=0.02)
    wait_for(lambda: inbox.letters)
    mailer.close()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"mail_server": "http://h"}, "mail_server must be smtps://"),
        ({"mail_server": "smtps://"}, "mail_server must be smtps://"),
        ({"mail_server": "smtps://h"}, "mail_to: an e-mail address is needed"),
        ({"mail_server": "smtps://h", "mail_to": "a@b"}, "mail_from: an e-mail address is needed"),
        ({"mail_to": "a@b\nBcc: c@d"}, "mail_to: it must be one line"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, str], rule: str) -> None:
    with pytest.raises(InputError) as caught:
        MailConfig(**changes)
    assert rule.replace(":", "") in str(caught.value).replace(":", "")


def test_record_hides_the_password_of_an_address() -> None:
    mail = MailConfig(mail_server="smtps://me:s3cr3tXX@h", mail_to="a@b", mail_from="c@d")
    assert "s3cr3tXX" not in str(MonitorConfig(mail=mail).to_json_dict())


def test_every_message_is_one_line() -> None:
    outage = {"outage": "no frames", "reason": "a\nb", "seconds": 12.4}
    named = {"change": "outage ended", "alarm": None, "outage": outage, "probe": "r-2"}
    assert describe_message(named).startswith("r-2: outage ended")
    assert describe_message({"change": "outage ended", "alarm": None, "outage": outage}) == (
        "outage ended after 12 s: no frames (a b)"
    )
