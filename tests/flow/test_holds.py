"""A held call keeps all it has, originals and copies, whoever comes to remove them; its neighbour goes each time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.steps import at_work, delivered, known
from tests.support import audio
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site, eventually

slow = pytest.mark.slow
HELD, FREE = FieldCall(1, lead=True), FieldCall(2, lead=True)
TIERS = {"CALLSPOOL_COMPRESS__TIERS": "[{after: 0s, bitrate: 32k}]", "CALLSPOOL_COMPRESS__WORKERS": "1"}
PATIENT = {"CALLSPOOL_MATCH__WAIT": "1h"}
RULES = {"CALLSPOOL_RETENTION__RULES": "[{after: 1d, remove: [recordings, conversations, leads]}]"}


def recording(site: Site, call: FieldCall) -> Path:
    """Where its recording lies: one that can be compressed."""
    return site.recordings / call.recording_name.replace(".ogg", ".wav")


def drop_recording(site: Site, call: FieldCall) -> None:
    spoken = audio.talk([(0.4, 1.5 + call.nth / 4)], 3, rate=audio.RATE, noise_db=-60)
    part = site.recordings / ".call.wav"
    audio.encode(part, spoken, container="wav", codec="pcm_s16le")
    part.rename(recording(site, call))


def files(site: Site, call: FieldCall) -> dict[str, bytes]:
    """What lies in the watched folders of a call, with its content."""
    paths = [recording(site, call), recording(site, call).with_suffix(".opus")]
    paths += [site.conversations / call.transcript_name, site.leads / call.lead_name]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def hold_its_transcript_before_the_rest_comes(site: Site, daemon: DaemonProcess) -> dict[str, bytes]:
    """Both calls delivered, one of them held when there was no more of it than its transcript."""
    HELD.drop_transcript(site)
    known(site, 1)
    assert len(site.ask("hold", "add", HELD.transcript_name, "--why", "court")["held"]) == 1
    for call in (HELD, FREE):
        drop_recording(site, call)
        call.drop_lead(site)
    FREE.drop_transcript(site)
    delivered(daemon, site, 2)
    return files(site, HELD)


def deliver_and_compress_both(site: Site, daemon: DaemonProcess) -> None:
    """Recording and transcript of each call delivered, and compression told to begin."""
    for call in (HELD, FREE):
        drop_recording(site, call)
        call.drop_transcript(site)
    delivered(daemon, site, 2)
    assert site.command("compress").returncode == 0


def aged(site: Site) -> None:
    """As if every call had been delivered a week ago."""
    with closing(sqlite3.connect(site.folder / "state" / "ledger.db", isolation_level=None)) as ledger:
        ledger.execute("UPDATE call SET delivered_us = delivered_us - 7 * 86400000000")


def removed(daemon: DaemonProcess, event: str, count: int = 1) -> None:
    """Wait until so many of these lines are there."""
    daemon.wait_until(lambda lines: sum(line["event"] == event for line in lines) >= count, f"{count} {event}")


@slow
def test_retention_removes_nothing_of_it(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, **PATIENT) as daemon:
        before = hold_its_transcript_before_the_rest_comes(site, daemon)
    aged(site)
    assert site.ask("retention", **RULES)["due"] == 3
    with at_work(site, **RULES) as daemon:
        site.ask("retention", "--run", **RULES)
        removed(daemon, "retention.applied")
        eventually(lambda: files(site, FREE) == {} and site.idle(), "the other call is removed")
    assert files(site, HELD) == before


@slow
def test_retention_leaves_the_copy_that_stands_for_its_recording(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, **TIERS, CALLSPOOL_COMPRESS__KEEP_ORIGINAL="0s") as daemon:
        deliver_and_compress_both(site, daemon)
        removed(daemon, "original.removed", 2)
        eventually(lambda: len(site.rows("SELECT 1 FROM compression WHERE copy_id IS NOT NULL")) == 2, "copies known")
        before = files(site, HELD)
        assert len(site.ask("hold", "add", HELD.transcript_name)["held"]) == 3
    aged(site)
    with at_work(site, **RULES) as daemon:
        assert site.ask("retention", "--run", **RULES)["due"] == 2
        removed(daemon, "retention.applied")
        eventually(lambda: files(site, FREE) == {} and site.idle(), "the other call is removed")
    assert files(site, HELD) == before
    assert any(name.endswith(".opus") for name in before)


def test_compression_does_not_touch_what_joined_it(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, **TIERS, **PATIENT, CALLSPOOL_COMPRESS__KEEP_ORIGINAL="0s") as daemon:
        before = hold_its_transcript_before_the_rest_comes(site, daemon)
        assert site.command("compress").returncode == 0
        removed(daemon, "original.removed")
        site.rest()
    assert files(site, HELD) == before
    assert not recording(site, FREE).exists()


def test_an_original_whose_grace_ends_while_it_is_held_stays_beside_its_copy(site: Site, crm: LoopbackCrm) -> None:
    with at_work(site, **TIERS) as daemon:
        deliver_and_compress_both(site, daemon)
        removed(daemon, "recording.compressed", 2)
        eventually(lambda: len(files(site, HELD)) == 3 and site.idle(), "original and copy lie there")
        site.ask("hold", "add", HELD.transcript_name)
        before = files(site, HELD)
    over = {**TIERS, "CALLSPOOL_COMPRESS__KEEP_ORIGINAL": "0s"}
    with at_work(site, **over) as daemon:
        assert site.command("compress", **over).returncode == 0
        removed(daemon, "original.removed")
        site.rest()
        assert files(site, HELD) == before
        site.ask("hold", "remove", HELD.transcript_name)
        assert site.command("compress", **over).returncode == 0
        removed(daemon, "original.removed", 2)
    assert not recording(site, HELD).exists()


def test_sources_that_storage_has_stay(site: Site, crm: LoopbackCrm) -> None:
    # A grace that outlasts the CRM: a call that it does not have when the grace ends is looked at an hour later.
    settings = {**PATIENT, "CALLSPOOL_STORAGE__AFTER": "remove", "CALLSPOOL_STORAGE__GRACE": "5s"}
    with at_work(site, **settings) as daemon:
        before = hold_its_transcript_before_the_rest_comes(site, daemon)
        removed(daemon, "source.removed", 3)
        eventually(lambda: files(site, FREE) == {} and site.idle(), "the other call's sources are removed")
        stored = "SELECT count(*) FROM copy WHERE state = 'verified' AND role = 'sidecar'"
        eventually(lambda: site.rows(stored)[0][0] == 2, "both are in the store")
    assert files(site, HELD) == before


@pytest.mark.parametrize(
    ("by", "subject"),
    [
        ("--call", HELD.transcript_name),
        pytest.param("--number", HELD.phone, marks=slow),
        pytest.param("--lead", HELD.lead_name, marks=slow),
    ],
    ids=["call", "number", "lead"],
)
def test_erasing_is_refused_and_says_who_must_act(site: Site, crm: LoopbackCrm, by: str, subject: str) -> None:
    with at_work(site, **PATIENT) as daemon:
        before = hold_its_transcript_before_the_rest_comes(site, daemon)
        for form in ("--yes", "--dry-run"):
            refused = site.command("erase", by, subject, form)
            assert refused.returncode == 2
            assert "-> callspool hold list; callspool hold remove" in refused.stderr
        assert site.ask("erase", "--call", FREE.transcript_name, "--yes")["items"] == 3
    assert files(site, FREE) == {}
    assert files(site, HELD) == before
