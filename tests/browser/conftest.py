"""One real browser for all pages."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright
from tests.helpers.patience import PATIENCE_MS

# A busy machine is slow; a page that is broken stays so.
expect.set_options(timeout=PATIENCE_MS)
# A page gives a service seconds to respond; on a slow machine they are minutes.
PATIENT_PAGE = "AbortSignal.timeout = ((own) => (ms) => own(30 * ms))(AbortSignal.timeout.bind(AbortSignal));"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def _patient(make: Callable[..., Any]) -> Callable[..., Any]:
    """Let what a page is asked to do have as long as what is expected of it, and what it asks for, too."""

    def make_patient(**options: Any) -> Any:
        made = make(**options)
        made.set_default_timeout(PATIENCE_MS)
        made.add_init_script(PATIENT_PAGE)
        return made

    return make_patient


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        browser.new_page, browser.new_context = _patient(browser.new_page), _patient(browser.new_context)
        yield browser
        browser.close()
