"""A ledger that is lost with all its copies: folders, markers and sidecars give back hours and ids."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, requests
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually

CALLS = "SELECT c.name, call_id FROM call JOIN conversation AS c ON c.id = conversation_id ORDER BY 1"
HOURS = "SELECT count(*), round(sum(media_s), 6) FROM recording"


def test_a_rebuilt_ledger_knows_the_same_hours_and_ids_and_sends_nothing_again(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site) as daemon:
        for nth in range(3):
            FieldCall(nth, lead=nth == 1).drop(site)
        delivered(daemon, site, 3)
        written = "SELECT count(*) FROM copy WHERE role = 'sidecar' AND state = 'verified'"
        eventually(lambda: site.rows(written)[0][0] == 3, "every sidecar is written")
        eventually(lambda: len(os.listdir(site.folder / "processed_uploads")) == 3, "every marker is written")
        refused = site.command("ledger", "rebuild")
        assert refused.returncode == 11
        assert site.ask("ledger", "rebuild", "--dry-run")["sidecars"] == 3
    calls, hours = list(map(tuple, site.rows(CALLS))), tuple(site.rows(HOURS)[0])
    sent = len(requests(crm, "call"))
    shutil.rmtree(site.folder / "state")

    answer = site.ask("ledger", "rebuild")
    assert (answer["sidecars"], answer["markers"], answer["set_aside"]) == (3, 3, None)
    with at_work(site):
        eventually(lambda: tuple(site.rows(HOURS)[0]) == hours, "the same hours")
        eventually(lambda: list(map(tuple, site.rows(CALLS))) == calls, "the same calls under the same ids")
        site.rest()
        FieldCall(5).drop(site)
        eventually(lambda: crm.records == 4, "what is new is delivered")
    assert len(requests(crm, "call")) == sent + 1


COMPRESSING = {
    "CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 16k}]",
    "CALLSPOOL_COMPRESS__AT": '"0 0 1 1 *"',
    "CALLSPOOL_COMPRESS__WORKERS": "1",
}


@pytest.mark.parametrize("kept", [pytest.param("0s", marks=pytest.mark.slow), "24h"])
def test_compressed_copies_are_known_again_and_counted_stored_and_sent_once(
    site: Site, crm: LoopbackCrm, kept: str
) -> None:
    """With the originals gone, and with them beside their copies yet."""
    site.environ.update(COMPRESSING, CALLSPOOL_COMPRESS__KEEP_ORIGINAL=kept)
    spoken = audio.talk([(0.4, 1.9), (2.4, 3.6)], 4, rate=audio.RATE, noise_db=-60)
    with at_work(site) as daemon:
        for nth in range(2):
            call = FieldCall(nth, seconds=4)
            call.drop_transcript(site)
            name = call.recording_name.removesuffix("ogg") + "wav"
            audio.encode(site.recordings / name, spoken[nth:], container="wav", codec="pcm_s16le")
        delivered(daemon, site, 2)
        written = "SELECT count(*) FROM copy WHERE role = 'sidecar' AND state = 'verified'"
        eventually(lambda: site.rows(written)[0][0] == 2, "every sidecar is written")
        eventually(lambda: len(os.listdir(site.folder / "processed_uploads")) == 2, "every marker is written")
    wanted = "replaced" if kept == "0s" else "verified"
    site.command("compress")
    states = "SELECT state FROM compression"
    assert [row[0] for row in site.rows(states)] == [wanted] * 2
    hours, before = tuple(site.rows(HOURS)[0]), told(site)
    calls, stored = list(map(tuple, site.rows(CALLS))), listing(site.folder / "uploads")
    shutil.rmtree(site.folder / "state")

    assert site.ask("ledger", "rebuild")["sidecars"] == 2
    with at_work(site):
        eventually(lambda: tuple(site.rows(HOURS)[0]) == hours, "the same hours")
        eventually(lambda: list(map(tuple, site.rows(CALLS))) == calls, "the same calls under the same ids")
        eventually(lambda: [row[0] for row in site.rows(states)] == [wanted] * 2, "the copies")
        eventually(lambda: site.rows(written)[0][0] == 2, "every sidecar is written")
        site.rest()
    assert (len(requests(crm, "call")), len(requests(crm, "upload"))) == (2, 2)
    assert told(site) == before
    assert listing(site.folder / "uploads") == stored
    assert site.command("verify", "--deep", "100%").returncode == 0


def told(site: Site) -> tuple[object, ...]:
    """What a person is told of hours and savings."""
    summary, savings = site.ask("report")["summary"], site.ask("savings")
    return summary["total_conversations"], summary["total_hours"], savings["savings"], savings["compressed_size"]


def listing(folder: Path) -> list[str]:
    """Every file below, by name."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
