"""The route of a batch's report: the page, as a file; one at a time; what is not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.helpers.patience import PATIENCE_S
from tests.helpers.service import make_service

from georgia.cli import main
from georgia.web import routes_report
from georgia.web.app import create_app


@pytest.mark.slow
def test_report_of_batch_is_a_page_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = make_service(tmp_path)
    (tmp_path / "frames" / "f30.png").unlink()
    begun, go_on = threading.Event(), threading.Event()
    read_card = routes_report._read_card

    def wait(of: object) -> dict[str, str]:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return read_card(of)  # type: ignore[arg-type]

    monkeypatch.setattr(routes_report, "_read_card", wait)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        assert client.get("/api/batches/9/report").status_code == 404
        found = []
        first = threading.Thread(target=lambda: found.append(client.get("/api/batches/1/report")))
        first.start()
        assert begun.wait(PATIENCE_S)
        second = client.get("/api/batches/1/report")
        go_on.set()
        first.join(PATIENCE_S)
        third = client.get("/api/batches/1/report")
    assert (second.status_code, second.headers["retry-after"]) == (503, "10")
    assert [response.status_code for response in (*found, third)] == [200, 200]
    page = third.text
    assert third.headers["content-disposition"] == 'attachment; filename="georgia-report-1.html"'
    assert third.headers["content-security-policy"].startswith("sandbox")
    assert "The batch has not ended" in page
    assert "No image: its file is gone (No such file or directory)." in page
    assert page.count("data:image/jpeg") == 3, "of frame 30 the windows alone"
    (tmp_path / "page.html").write_bytes(third.content)
    check = ["report", str(tmp_path / "m.db"), "--check", str(tmp_path / "page.html")]
    assert main([*check, "--frames", str(tmp_path / "frames")]) == 0, capsys.readouterr()
