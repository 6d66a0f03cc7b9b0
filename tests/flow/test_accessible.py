"""The page to everybody: axe-core finds nothing wrong, whatever the ledger holds and however it is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flow.steps import failures
from tests.support.browser import before_the_page, needs_chromium, sign_in
from tests.support.calls import FieldCall
from tests.support.crowded import CAUSES, FAILURES, make_crowded
from tests.support.process import DaemonProcess, Site, eventually

pytestmark = [pytest.mark.slow, needs_chromium]

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def found_wrong(page: Any) -> list[str]:
    """What axe-core says of the page in light and dark, on a desk and on a phone, with every detail opened."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    for scheme in ("light", "dark"):
        for size in (DESK, PHONE):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            results = Axe().run(page)
            assert len(results.response["passes"]) > 10, "it looked"
            found += [f"{scheme}, {size['width']} wide: {results.generate_report()}"] * results.violations_count
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (scheme, size)
    return found


def test_an_empty_ledger(site: Site) -> None:
    with before_the_page(site) as (_, page):
        page.goto("/")
        assert found_wrong(page) == []
        sign_in(page)
        page.wait_for_selector("text=Nothing was collected yet")
        assert found_wrong(page) == []


def test_a_few_calls_of_which_one_failed(site: Site) -> None:
    with before_the_page(site, CALLSPOOL_COLLECT__TARGET_HOURS="100") as (daemon, page):
        drop_a_few(site, daemon)
        sign_in(page)
        page.wait_for_selector("svg.wave path")
        page.wait_for_selector("#needs .cause")
        assert found_wrong(page) == []


def drop_a_few(site: Site, daemon: DaemonProcess) -> None:
    for number in range(3):
        FieldCall(number).drop(site)
    (site.recordings / "number-_12025550199-1761729999.ogg").write_bytes(b"no audio at all")
    daemon.wait_until(lambda lines: sum(line["event"] == "crm.accepted" for line in lines) == 3, "three are delivered")
    eventually(lambda: failures(site), "one failed")
    site.ask("pause", "compress", "--why", "a look")


def test_a_crowd_of_failures_and_questions(site: Site) -> None:
    make_crowded(site.folder)
    with before_the_page(site) as (_, page):
        sign_in(page)
        assert page.locator("#needs .cause").count() == CAUSES
        assert f"{FAILURES // CAUSES} ×" in page.locator("#needs").inner_text()
        assert page.locator("#held article").count() == 10
        assert found_wrong(page) == []
