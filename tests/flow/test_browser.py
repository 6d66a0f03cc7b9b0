"""The page in Chromium: what a person reads and clicks, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audio import RATE, make_wav
from tests.support.browser import before_the_page, needs_chromium, sign_in
from tests.support.calls import FieldCall
from tests.support.process import Site

pytestmark = [pytest.mark.slow, needs_chromium]


def test_a_person_signs_in_reads_the_hours_and_retries_what_failed(site: Site) -> None:
    with before_the_page(site) as (daemon, page):
        make_wav(site.recordings / "number-_12025550123-1761720502.wav", round(72 * RATE))
        (site.recordings / "number-_12025550124-1761720702.ogg").write_bytes(b"no audio at all")
        daemon.wait_for("recording.understood")
        daemon.wait_for("job.parked")
        page.goto("/")
        assert page.locator("#needs").count() == 0
        sign_in(page)
        page.wait_for_selector("#needs .cause")
        assert hours_on(page) == site.ask("hours")["hours"]
        page.get_by_role("button", name="Retry it").click()
        page.wait_for_selector("text=Done: retry (1).")
        daemon.wait_for("job.retried")


def hours_on(page: Any) -> dict[str, float]:
    """The page's numbers, by kind."""
    return {
        kind: float(page.locator(f"[data-kind={kind}]").inner_text().removesuffix(" h").replace(",", ""))
        for kind in ("received", "usable", "unique", "delivered")
    }


def test_the_page_fits_a_phone_and_its_waveform_is_drawn_in_both_schemes(site: Site) -> None:
    with before_the_page(site) as (daemon, page):
        FieldCall(0, seconds=3).drop(site)
        daemon.wait_for("call.matched")
        page.set_viewport_size({"width": 360, "height": 740})
        sign_in(page)
        page.wait_for_selector("svg.wave path")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 26)"}[scheme]
