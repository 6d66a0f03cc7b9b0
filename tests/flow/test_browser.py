"""The page in Chromium: what a person reads and clicks, in light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import delivered
from tests.flow.test_late import SHORT, drop_twins, questions
from tests.support.audio import RATE, make_wav
from tests.support.browser import before_the_page, needs_chromium, sign_in
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

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


def test_a_person_accepts_one_of_two_twins_and_the_question_is_gone(site: Site, crm: LoopbackCrm) -> None:
    with before_the_page(site, CALLSPOOL_MATCH__HELD="hold", **SHORT) as (daemon, page):
        drop_twins(site, daemon)
        eventually(lambda: len(questions(site)) == 2, "both are held")
        sign_in(page)
        question = page.locator("#held article").first
        call, chosen = question.get_attribute("aria-label"), question.locator(".candidates b").last.inner_text()
        question.get_by_role("button", name=f"Accept {chosen}").click()
        page.wait_for_selector("text=Done: accept")
        delivered(daemon, site, 2)  # with one of them gone the other is beyond doubt
        page.wait_for_selector("text=None: every call's recording is known")
        assert page.locator("#held article").count() == 0
        assert hours_on(page) == site.ask("hours")["hours"]
        assert recording_told(site, crm, call) == file_name(site, chosen)


def recording_told(site: Site, crm: LoopbackCrm, call: str) -> str:
    """The file of which the CRM was told with this call (c12)."""
    ((call_id,),) = site.rows("SELECT call_id FROM call WHERE conversation_id = ?", (int(call[1:]),))
    (body,) = crm.calls[call_id].bodies
    names = {upload.url: upload.original_name for upload in crm.uploads}
    return names[body["callDetails"]["recordingUrl"]]


def file_name(site: Site, recording: str) -> str:
    """The file of a recording (r12)."""
    ((name,),) = site.rows("SELECT name FROM item WHERE id = ?", (int(recording[1:]),))
    return str(name)
