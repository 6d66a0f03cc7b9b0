"""Each thing a CRM does to us, and what the operator sees of it: in the log, in ``failures``, in ``explain``, in the
CRM's own books. The rows are those of the design's table of outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import Fault, throttled
from tests.flow.steps import at_work, delivered, events, requests
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

CALL = FieldCall()
OTHER = FieldCall(1, seconds=4)


def effects(site: Site, subject: str) -> dict[str, dict[str, Any]]:
    """The effects of a call's job, by type, as ``explain --json`` tells them."""
    jobs = site.ask("explain", subject)["jobs"]
    return {effect["type"]: effect for job in jobs for effect in job["effects"]}


def call_job(site: Site, subject: str) -> dict[str, Any]:
    jobs: list[dict[str, Any]] = site.ask("explain", subject)["jobs"]
    return next(job for job in jobs if job["kind"] == "call")


def subject_of(daemon: DaemonProcess, event: str) -> str:
    """The call that a log line speaks of, as a person names it."""
    return str(daemon.wait_for(event)["call_id"])


@pytest.fixture(autouse=True)
def every_request_bears_an_idempotency_key(crm: LoopbackCrm) -> Iterator[None]:
    yield
    sent = [request for request in crm.requests if request.step in ("upload", "call")]
    assert sent
    assert all(request.idempotency_key for request in sent)


# ------------------------------------------------------------------------------------------------ asked to wait


def test_a_503_holds_the_destination_and_passes_by_itself(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave("503", on="upload")
    with at_work(site) as daemon:
        CALL.drop(site)
        told = daemon.wait_for("destination.throttled")
        assert (told["dest"], told["reason"]) == ("crm", "answered 503")
        delivered(daemon, site)
        assert call_job(site, subject_of(daemon, "crm.accepted"))["attempt"] == 1  # a wait for the CRM costs none
    assert (len(requests(crm, "upload")), crm.records) == (2, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_every_call_back_for_as_long_as_it_says(site: Site, crm: LoopbackCrm, form: str) -> None:
    asked = "2" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    crm.misbehave(throttled(asked), on="upload")
    with at_work(site) as daemon:
        CALL.drop(site)
        until = datetime.fromisoformat(daemon.wait_for("destination.throttled")["next_attempt_ts"])
        OTHER.drop(site)
        delivered(daemon, site, 2)
    first, *others = crm.requests
    assert first.ended is not None
    assert min(request.began for request in others) >= until.timestamp() - 0.05
    assert until.timestamp() - first.ended >= (1.9 if form == "seconds" else 0.5)
    assert crm.records == 2


def test_an_absurd_retry_after_is_believed_for_six_hours_at_most(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave(throttled("99999999999"), on="upload")
    with at_work(site) as daemon:
        CALL.drop(site)
        told = daemon.wait_for("destination.throttled")
        wait = datetime.fromisoformat(told["next_attempt_ts"]) - datetime.fromisoformat(told["ts"])
        assert timedelta(hours=5, minutes=59) < wait <= timedelta(hours=6, seconds=1)
        (shut,) = site.ask("failures")["destinations"]
        assert (shut["dest"], shut["state"], shut["reason"]) == ("crm", "asked", "answered 429")
    assert len(crm.requests) == 1


@pytest.mark.parametrize("said", ["soon", "-5"])
def test_a_retry_after_that_names_no_time_leaves_our_own_backoff(site: Site, crm: LoopbackCrm, said: str) -> None:
    crm.misbehave(throttled(said), on="call")
    with at_work(site) as daemon:
        CALL.drop(site)
        told = daemon.wait_for("destination.throttled")
        wait = datetime.fromisoformat(told["next_attempt_ts"]) - datetime.fromisoformat(told["ts"])
        assert wait < timedelta(seconds=1)
        delivered(daemon, site)
    assert (len(requests(crm, "upload")), len(requests(crm, "call")), crm.records) == (1, 2, 1)


# ------------------------------------------------------------------------------------------------ answered no


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("says_no", "its body does not say success"),
        ("html", "without the promised JSON"),
        ("408", "answered 408"),
        ("redirect", "redirects are not followed"),
    ],
)
def test_refused_three_times_it_is_parked_and_retry_delivers_it(
    site: Site, crm: LoopbackCrm, fault: str, says: str
) -> None:
    crm.misbehave(fault, on="call", times=3)
    with at_work(site) as daemon:
        CALL.drop(site)
        parked = daemon.wait_for("job.parked")
        assert says in parked["reason"]
        assert "(refused 3 times)" in parked["reason"]
        (failure,) = site.ask("failures")["failures"]
        assert (failure["subject"], failure["reason"]) == (parked["call_id"], parked["reason"])
        assert failure["fix"] == f"callspool retry {parked['call_id']}"
        assert effects(site, parked["call_id"])["crm.call"]["state"] == "parked"
        assert site.command(*failure["fix"].split()[1:]).returncode == 0
        delivered(daemon, site)
        assert site.ask("failures")["failures"] == []
    assert (len(requests(crm, "upload")), len(requests(crm, "call")), crm.records) == (1, 4, 1)


@pytest.mark.parametrize("fault", ["url_javascript", "url_missing", "url_relative", "url_credentials", "wrong_size"])
def test_an_upload_answered_with_a_wrong_url_or_size_is_never_passed_on(
    site: Site, crm: LoopbackCrm, fault: str
) -> None:
    crm.misbehave(fault, on="upload")
    with at_work(site) as daemon:
        CALL.drop(site)
        assert "answered with" in daemon.wait_for("job.deferred")["reason"]
        delivered(daemon, site)
    ((_, call),) = crm.calls.items()
    assert [body["callDetails"]["recordingUrl"] for body in call.bodies] == [crm.uploads[0].url]


@pytest.mark.parametrize(
    ("status", "step"),
    [("413", "upload"), ("400", "call"), ("404", "call"), ("409", "call"), ("415", "upload"), ("422", "call")],
)
def test_what_no_retry_can_help_is_parked_at_once_while_others_go_on(
    site: Site, crm: LoopbackCrm, status: str, step: Any
) -> None:
    crm.misbehave(status, on=step)
    with at_work(site) as daemon:
        CALL.drop(site)
        parked = daemon.wait_for("job.parked")
        assert parked["reason"].startswith(f"answered {status}: ")
        assert parked["http_status"] == int(status)
        OTHER.drop(site)
        daemon.wait_for("crm.accepted")
        (failure,) = site.ask("failures")["failures"]
        assert failure["subject"] == parked["call_id"]
        assert site.command("retry", parked["call_id"]).returncode == 0
        delivered(daemon, site, 2)
    assert crm.records == 2
    assert len(requests(crm, step)) == 3


def test_a_conflict_that_names_our_own_call_counts_as_delivered(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave({"name": "409_ours", "accept": True}, on="call")
    with at_work(site) as daemon:
        CALL.drop(site)
        assert daemon.wait_for("crm.accepted")["http_status"] == 409
        site.rest()
    assert (len(requests(crm, "call")), crm.records) == (1, 1)


# ------------------------------------------------------------------------------------------------ sent, fate unknown


@pytest.mark.parametrize("step", ["upload", "call"])
@pytest.mark.parametrize("fault", ["hang", "drop", "drip"])
def test_accepted_but_unanswered_it_is_in_doubt_and_sent_again_under_the_same_key(
    site: Site, crm: LoopbackCrm, fault: str, step: Any
) -> None:
    crm.misbehave({"name": fault, "pause_s": 0.2}, on=step)
    with at_work(site, CALLSPOOL_CRM__TIMEOUT="500ms", CALLSPOOL_CRM__RETRY="[1h]") as daemon:
        CALL.drop(site)
        deferred = daemon.wait_for("job.deferred")
        assert deferred["reason"].startswith("sent, but ")
        effect = effects(site, deferred["call_id"])[f"crm.{step}"]
        assert (effect["state"], effect["sends"]) == ("in_doubt", 1)
        (retrying,) = site.ask("failures")["retrying"]
        assert retrying["next_attempt_ts"] is not None
        assert site.command("retry", deferred["call_id"]).returncode == 0
        delivered(daemon, site)
    sent = requests(crm, step)
    assert len(sent) == 2
    assert len({request.idempotency_key for request in sent}) == 1
    assert (len(crm.uploads), crm.records) == (1, 1)


@pytest.mark.parametrize("status", ["500", "502", "504"])
def test_call_data_that_fails_after_the_upload_is_sent_alone(site: Site, crm: LoopbackCrm, status: str) -> None:
    crm.misbehave(status, on="call", times=2)
    with at_work(site) as daemon:
        CALL.drop(site)
        delivered(daemon, site)
        journal = site.ask("explain", subject_of(daemon, "crm.accepted"))["journal"]
        assert [line["http_status"] for line in journal if line["event"] == "job.deferred"] == [int(status)] * 2
    assert (len(requests(crm, "upload")), len(requests(crm, "call")), crm.records) == (1, 3, 1)


def test_in_doubt_hold_leaves_it_to_a_person(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave("drop", on="call")
    with at_work(site, CALLSPOOL_CRM__IN_DOUBT="hold") as daemon:
        CALL.drop(site)
        parked = daemon.wait_for("job.parked")
        assert parked["reason"] == "sent, but not answered: it may have arrived, and the destination cannot be asked"
        (failure,) = site.ask("failures")["failures"]
        assert f"callspool retry {parked['call_id']}" in failure["fix"]
        assert effects(site, parked["call_id"])["crm.call"]["state"] == "in_doubt"
        assert len(requests(crm, "call")) == 1
        assert site.command("retry", parked["call_id"]).returncode == 0
        delivered(daemon, site)
    assert (len(requests(crm, "call")), crm.records) == (2, 1)


@pytest.mark.parametrize(("fault", "posts"), [("drop", 1), ("reset", 2)])
def test_with_a_lookup_url_it_asks_before_it_sends_again(site: Site, crm: LoopbackCrm, fault: str, posts: int) -> None:
    crm.misbehave(fault, on="call")
    crm.forgetful = True
    with at_work(site, CALLSPOOL_CRM__LOOKUP_URL=crm.lookup_url, CALLSPOOL_CRM__IN_DOUBT="hold") as daemon:
        CALL.drop(site)
        delivered(daemon, site)
    assert (len(requests(crm, "lookup")), len(requests(crm, "call")), crm.records) == (1, posts, 1)


def test_a_crm_that_knows_nothing_again_has_the_call_twice(site: Site, crm: LoopbackCrm) -> None:
    """Exactly once needs a CRM that knows an id again, or one that can be asked: the README says so in plain words."""
    crm.misbehave("drop", on="call")
    crm.forgetful = True
    with at_work(site) as daemon:
        CALL.drop(site)
        delivered(daemon, site)
    assert (len(crm.calls), crm.records) == (1, 2)


# ------------------------------------------------------------------------------------------------ not let in, not there


def test_refused_credentials_rest_the_destination_with_one_alarm_and_cost_no_attempt(
    site: Site, crm: LoopbackCrm
) -> None:
    crm.token = "not ours"
    with at_work(site) as daemon:
        CALL.drop(site)
        OTHER.drop(site)
        alarm = daemon.wait_for("destination.denied")
        assert (alarm["level"], alarm["dest"]) == ("error", "crm")
        crm.wait(lambda books: len(books.requests) >= 4)  # probed with backoff, again and again
        shut = site.ask("failures")
        assert shut["destinations"][0]["state"] == "resting"
        assert shut["failures"] == []
        crm.token = None
        delivered(daemon, site, 2)
        assert len(events(daemon, "destination.denied")) == 1
        assert events(daemon, "destination.recovered")
        subjects = [str(line["call_id"]) for line in events(daemon, "crm.accepted")]
        assert [call_job(site, subject)["attempt"] for subject in subjects] == [1, 1]
        told = [effect for subject in subjects for effect in effects(site, subject).values()]
        assert len(told) >= 6
        assert {effect["failures"] for effect in told} == {0}
    assert crm.records == 2


def test_a_crm_that_is_down_opens_the_breaker_and_the_backlog_drains_when_it_is_back(
    site: Site, crm: LoopbackCrm
) -> None:
    calls = [FieldCall(nth, seconds=2 + nth / 10) for nth in range(6)]
    crm.refuse()
    with at_work(site) as daemon:
        for call in calls[:5]:
            call.drop(site)
        opened = daemon.wait_for("destination.opened")
        assert (opened["dest"], opened["reason"]) == ("crm", "not reached: Connection refused")
        seen = len(events(daemon, "call.matched"))
        calls[5].drop(site)  # watching and matching go on
        daemon.wait_until(lambda lines: sum(e["event"] == "call.matched" for e in lines) > seen, "one more match")
        assert site.ask("failures")["failures"] == []
        assert site.ask("status")["destinations"][0]["state"] == "open"
        crm.listen()
        delivered(daemon, site, 6)
        assert len(events(daemon, "destination.opened")) == 1
        assert events(daemon, "destination.recovered")
    assert crm.records == 6
    assert all(upload.posts == 1 for upload in crm.uploads)


def test_every_line_about_a_delivery_names_its_call(site: Site, crm: LoopbackCrm) -> None:
    crm.misbehave(Fault(500, body="{}"), on="upload")
    with at_work(site) as daemon:
        CALL.drop(site)
        delivered(daemon, site)
        lines = [line for name in ("job.deferred", "crm.uploaded", "crm.accepted") for line in events(daemon, name)]
        (subject,) = {line["call_id"] for line in lines}
        told = [line["event"] for line in site.ask("explain", subject)["journal"]]
        assert [name for name in told if name in ("job.deferred", "crm.uploaded", "crm.accepted")] == [
            "job.deferred",
            "crm.uploaded",
            "crm.accepted",
        ]
