"""The page in Chromium: what a person reads and clicks, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.audio import RATE, make_wav
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

TOKEN = "a-token-of-sixteen"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture
def opened(site: Site) -> Iterator[tuple[Site, DaemonProcess, Any]]:
    from playwright.sync_api import sync_playwright

    with site.daemon(CALLSPOOL_HTTP__LISTEN="127.0.0.1:0", HTTP_TOKEN=TOKEN) as daemon, sync_playwright() as playwright:
        daemon.wait_for("daemon.started")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=f"http://{daemon.wait_for('http.opened')['reason']}")
        context.set_default_timeout(30_000)
        yield site, daemon, context.new_page()
        browser.close()
        assert daemon.stop() == 0


def test_a_person_signs_in_reads_the_hours_and_retries_what_failed(
    opened: tuple[Site, DaemonProcess, Any],
) -> None:
    site, daemon, page = opened
    make_wav(site.recordings / "number-_12025550123-1761720502.wav", round(72 * RATE))
    (site.recordings / "number-_12025550124-1761720702.ogg").write_bytes(b"no audio at all")
    daemon.wait_for("recording.understood")
    daemon.wait_for("job.parked")
    page.goto("/")
    assert page.locator("#needs").count() == 0
    page.fill("#token", TOKEN)
    page.locator("form.sign button").click()

    page.wait_for_selector("#needs .cause")
    said: Any = site.ask("hours")
    shown = {
        kind: float(page.locator(f"[data-kind={kind}]").inner_text().removesuffix(" h").replace(",", ""))
        for kind in ("received", "usable", "unique", "delivered")
    }
    assert shown == said["hours"]
    page.get_by_role("button", name="Retry it").click()
    page.wait_for_selector("text=Done: retry (1).")
    daemon.wait_for("job.retried")


def test_the_page_fits_a_phone_and_its_waveform_is_drawn_in_both_schemes(
    opened: tuple[Site, DaemonProcess, Any],
) -> None:
    site, daemon, page = opened
    FieldCall(0, seconds=3).drop(site)
    daemon.wait_for("call.matched")
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/")
    page.fill("#token", TOKEN)
    page.locator("form.sign button").click()
    page.wait_for_selector("svg.wave path")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 26)"}[scheme]
