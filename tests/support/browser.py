"""A person's browser: headless Chromium before a running daemon's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.process import DaemonProcess, Site

TOKEN = "a-token-of-sixteen"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
PATIENCE_MS = 30_000

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium here: apt-get install chromium")


@contextmanager
def before_the_page(site: Site, **settings: str) -> Iterator[tuple[DaemonProcess, Any]]:
    """A daemon at work and an empty page of a browser that knows its address."""
    from playwright.sync_api import sync_playwright

    served = {"CALLSPOOL_HTTP__LISTEN": "127.0.0.1:0", "HTTP_TOKEN": TOKEN, **settings}
    with site.daemon(**served) as daemon, sync_playwright() as playwright:
        daemon.wait_for("daemon.started")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=f"http://{daemon.wait_for('http.opened')['reason']}")
        context.set_default_timeout(PATIENCE_MS)
        yield daemon, context.new_page()
        browser.close()
        assert daemon.stop() == 0


def sign_in(page: Any) -> None:
    """Give the token where the page asks for it, and wait for what it opens."""
    page.goto("/")
    page.fill("#token", TOKEN)
    page.locator("form.sign button").click()
    page.wait_for_selector("#needs")
