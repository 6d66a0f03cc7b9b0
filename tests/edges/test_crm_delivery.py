"""Each row of the design's table of outcomes, against a real HTTP server that misbehaves on command."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from daemon.contract import Effect
from daemon.errors import (
    ContentMoved,
    DeliveryError,
    Denied,
    NotSent,
    Refused,
    Throttled,
    Unacceptable,
    Unanswered,
)
from handlers.crm.performers import AsHashed, UploadPerformer, part_name
from handlers.demo.crm import LoopbackCrm
from handlers.demo.faults import Fault, throttled
from tests.support.crm import CALL_ID, NAME, Spool, call_effect, crm_settings, spool, with_given
from tests.support.records import NOON, HandClock


@pytest.fixture
def crm() -> Iterator[LoopbackCrm]:
    with LoopbackCrm() as crm:
        yield crm


@pytest.fixture
def desk(crm: LoopbackCrm, tmp_path: Path) -> Iterator[Spool]:
    with spool(tmp_path, crm_settings(crm)) as made:
        yield made


# ------------------------------------------------------------------------------------------------- as promised


def test_an_upload_returns_the_url_and_leaves_the_file_as_it_was_hashed(crm: LoopbackCrm, desk: Spool) -> None:
    content = os.urandom(500_000)
    effect = desk.drop(content=content)
    receipt = desk.upload.perform(effect)
    [upload] = crm.uploads
    assert receipt.data["url"] == upload.url
    assert (upload.original_name, upload.size) == (NAME, len(content))
    assert upload.sha256 == hashlib.sha256(content).hexdigest()
    assert receipt.event is not None
    assert (receipt.event.name, receipt.event.fields["size_bytes"]) == ("crm.uploaded", len(content))
    assert receipt.event.fields["http_status"] == 200


def test_the_call_carries_the_url_that_the_upload_was_given(crm: LoopbackCrm, desk: Spool) -> None:
    upload = desk.drop()
    receipt = desk.upload.perform(upload)
    payload = {**call_effect().payload, "upload": upload.identity, "url": None}
    effect = Effect.of("crm.call", CALL_ID, "crm", payload)
    accepted = desk.call.perform(with_given(effect, {upload.identity: receipt}))
    [body] = crm.calls[CALL_ID].bodies
    assert body["callDetails"]["recordingUrl"] == crm.uploads[0].url == accepted.data["url"]
    assert [type(fact).__name__ for fact in accepted.facts] == ["CallDelivered"]


def test_a_call_without_a_recording_has_no_recording_url(crm: LoopbackCrm, desk: Spool) -> None:
    desk.call.perform(call_effect(url=None))
    assert "recordingUrl" not in crm.calls[CALL_ID].bodies[0]["callDetails"]


def test_every_attempt_bears_the_same_key_and_the_crm_knows_it_again(crm: LoopbackCrm, desk: Spool) -> None:
    effect = desk.drop()
    first, second = desk.upload.perform(effect), desk.upload.perform(effect)
    assert first.data["url"] == second.data["url"]
    assert [upload.posts for upload in crm.uploads] == [2]
    desk.call.perform(call_effect())
    desk.call.perform(call_effect())
    assert len(set(crm.calls[CALL_ID].keys)) == crm.records == 1


def test_a_forgetful_crm_makes_a_double_of_a_repeated_post(crm: LoopbackCrm, desk: Spool) -> None:
    crm.forgetful = True
    desk.call.perform(call_effect())
    desk.call.perform(call_effect())
    assert crm.records == 2


# ------------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", Throttled),
        ("503", Throttled),
        ("500", Unanswered),
        ("502", Unanswered),
        ("504", Unanswered),
        ("reset", Unanswered),
        ("drop", Unanswered),
        ("says_no", Refused),
        ("html", Refused),
        ("empty", Refused),
        ("huge", Refused),
        ("408", Refused),
        ("redirect", Refused),
        ("400", Unacceptable),
        ("404", Unacceptable),
        ("409", Unacceptable),
        ("413", Unacceptable),
        ("415", Unacceptable),
        ("422", Unacceptable),
        ("401", Denied),
        ("403", Denied),
    ],
)
@pytest.mark.parametrize("step", ["upload", "call"])
def test_each_misbehaviour_has_its_error(
    crm: LoopbackCrm, desk: Spool, step: str, fault: str, kind: type[DeliveryError]
) -> None:
    crm.misbehave(fault)
    perform, effect = (desk.upload.perform, desk.drop()) if step == "upload" else (desk.call.perform, call_effect())
    with pytest.raises(DeliveryError) as caught:
        perform(effect)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.reason
    assert perform(effect).data  # the CRM is well again: the same client goes on
    assert len(crm.requests) == 2


@pytest.mark.parametrize("fault", ["url_missing", "url_relative", "url_javascript", "url_credentials", "wrong_size"])
def test_an_upload_answered_with_something_else_than_promised_is_refused(
    crm: LoopbackCrm, desk: Spool, fault: str
) -> None:
    crm.misbehave(fault, on="upload")
    with pytest.raises(Refused):
        desk.upload.perform(desk.drop())


def test_nobody_listening_is_not_sent_and_tried_a_few_times_within_seconds(crm: LoopbackCrm, desk: Spool) -> None:
    crm.refuse()
    with pytest.raises(NotSent, match="refused"):
        desk.call.perform(call_effect())
    crm.listen()
    desk.call.perform(call_effect())
    assert crm.records == 1


def test_a_server_that_is_back_within_the_second_costs_no_attempt(crm: LoopbackCrm, desk: Spool) -> None:
    crm.refuse()
    threading.Timer(0.05, crm.listen).start()
    desk.upload.perform(desk.drop())
    assert len(crm.uploads) == 1


def test_no_such_host_is_not_sent(tmp_path: Path) -> None:
    settings = crm_settings(upload_url="http://crm.invalid/u", call_data_url="http://crm.invalid/c")
    with spool(tmp_path, settings) as desk, pytest.raises(NotSent):
        desk.call.perform(call_effect())


def test_a_certificate_that_proves_nothing_is_not_sent_to(tmp_path: Path) -> None:
    with _tls_server() as port:
        url = f"https://127.0.0.1:{port}/apis/calls"
        with spool(tmp_path, crm_settings(upload_url=url, call_data_url=url)) as desk, pytest.raises(NotSent):
            desk.call.perform(call_effect())


@contextmanager
def _tls_server() -> Iterator[int]:
    """A server that shows a certificate nobody vouches for, and never gets further."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parents[1] / "data" / "untrusted.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    with connection, context.wrap_socket(connection, server_side=True):
                        pass
                except ssl.SSLError:  # the client hangs up, as it should
                    continue
                except OSError:  # closed: the test is over
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_accepted_then_silent_is_unanswered_and_the_repeat_is_the_same_call(tmp_path: Path) -> None:
    with LoopbackCrm() as crm, spool(tmp_path, crm_settings(crm, timeout=timedelta(seconds=0.3))) as desk:
        crm.misbehave("hang", on="call")
        with pytest.raises(Unanswered):
            desk.call.perform(call_effect())
        assert crm.records == 1
        desk.call.perform(call_effect())
        assert crm.records == 1


class RunningClock(HandClock):
    """Its seconds pass."""

    def monotonic(self) -> float:
        return time.monotonic()


def test_an_answer_that_drips_for_ever_is_unanswered(crm: LoopbackCrm, tmp_path: Path) -> None:
    settings = crm_settings(crm, timeout=timedelta(seconds=0.3))
    with spool(tmp_path, settings, clock=RunningClock()) as desk:
        crm.misbehave({"name": "drip", "pause_s": 0.05}, on="call")
        with pytest.raises(Unanswered, match="did not end"):
            desk.call.perform(call_effect())


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("7", timedelta(seconds=7)),
        (format_datetime(NOON + timedelta(minutes=2), usegmt=True), timedelta(minutes=2)),
        (format_datetime(NOON - timedelta(minutes=2), usegmt=True), timedelta(0)),
        ("0", timedelta(0)),
        ("31536000", timedelta(days=365)),
        ("when it suits you", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_told(crm: LoopbackCrm, desk: Spool, status: int, said: str, wait: timedelta | None) -> None:
    crm.misbehave(throttled(said, status))
    with pytest.raises(Throttled) as caught:
        desk.call.perform(call_effect())
    assert caught.value.retry_after == wait


def test_a_conflict_that_names_our_own_call_means_it_is_there(crm: LoopbackCrm, desk: Spool) -> None:
    crm.misbehave("409_ours", on="call")
    receipt = desk.call.perform(call_effect())
    assert receipt.event is not None
    assert (receipt.event.name, receipt.event.fields["http_status"]) == ("crm.accepted", 409)


@pytest.mark.parametrize("older", ["an update", "in doubt before"])
def test_a_conflict_is_no_proof_where_older_content_may_be_what_is_there(
    crm: LoopbackCrm, desk: Spool, older: str
) -> None:
    crm.misbehave("409_ours", on="call")
    effect = call_effect(update=True) if older == "an update" else replace(call_effect(), unlearned=True)
    with pytest.raises(Unacceptable, match="409"):
        desk.call.perform(effect)


def test_redirects_are_not_followed(crm: LoopbackCrm, desk: Spool) -> None:
    crm.misbehave(Fault(307, headers={"Location": crm.calls_url}, body=""), on="call")
    with pytest.raises(Refused, match="redirects are not followed"):
        desk.call.perform(call_effect())
    assert len(crm.requests) == 1


# ------------------------------------------------------------------------------------------------- in doubt


def test_a_call_in_doubt_is_found_where_the_crm_can_be_asked(crm: LoopbackCrm, tmp_path: Path) -> None:
    with spool(tmp_path, crm_settings(crm, lookup_url=crm.lookup_url)) as desk:
        assert desk.call.find(call_effect()) is None
        crm.misbehave("drop", on="call")
        with pytest.raises(Unanswered):
            desk.call.perform(call_effect())
        found = desk.call.find(call_effect())
        assert found is not None
        assert [type(fact).__name__ for fact in found.facts] == ["CallDelivered"]


@pytest.mark.parametrize("fault", ["500", "html", "400", "drop"])
def test_a_lookup_without_a_usable_answer_is_no_leave_to_send_again(
    crm: LoopbackCrm, tmp_path: Path, fault: str
) -> None:
    with spool(tmp_path, crm_settings(crm, lookup_url=crm.lookup_url)) as desk:
        crm.misbehave(fault, on="lookup")
        with pytest.raises(NotSent, match="lookup"):
            desk.call.find(call_effect())


def test_an_update_cannot_be_told_from_the_call_before_it(crm: LoopbackCrm, tmp_path: Path) -> None:
    with spool(tmp_path, crm_settings(crm, lookup_url=crm.lookup_url)) as desk:
        desk.call.perform(call_effect())
        for effect in (call_effect(update=True), replace(call_effect(), unlearned=True)):
            with pytest.raises(Unanswered):
                desk.call.find(effect)


@pytest.mark.parametrize("choice", ["resend", "hold"])
def test_what_cannot_be_asked_is_done_as_the_operator_chose(tmp_path: Path, choice: str) -> None:
    with spool(tmp_path, crm_settings(in_doubt=choice)) as desk:
        with pytest.raises(Unanswered):
            desk.call.find(call_effect())
        with pytest.raises(Unanswered):
            desk.upload.find(call_effect())
        assert desk.call.doubt(call_effect()) == choice
        assert desk.upload.doubt(call_effect()) == "resend"


# ------------------------------------------------------------------------------------------------- the token


def test_the_token_is_sent_and_a_wrong_one_is_denied(tmp_path: Path) -> None:
    with LoopbackCrm(token="s3cret") as crm, spool(tmp_path, crm_settings(crm), token="s3cret") as desk:
        desk.call.perform(call_effect())
        crm.token = "another"
        with pytest.raises(Denied):
            desk.call.perform(call_effect())


def test_the_token_goes_to_no_other_origin(tmp_path: Path) -> None:
    with LoopbackCrm() as crm, LoopbackCrm(token="s3cret") as other:
        settings = crm_settings(crm, lookup_url=other.lookup_url)
        with spool(tmp_path, settings, token="s3cret") as desk:
            desk.call.perform(call_effect())
            with pytest.raises(Denied):
                desk.call.find(call_effect())


# ------------------------------------------------------------------------------------------------- the file


def test_a_file_that_changes_while_it_is_sent_never_becomes_an_upload(crm: LoopbackCrm, desk: Spool) -> None:
    content = os.urandom(300_000)
    effect = desk.drop(content=content, sha256=hashlib.sha256(b"what it was when it was hashed").hexdigest())
    with pytest.raises(ContentMoved):
        desk.upload.perform(effect)
    assert crm.uploads == []


def test_a_file_that_grows_or_shrinks_is_noticed_before_it_is_sent(crm: LoopbackCrm, desk: Spool) -> None:
    effect = desk.drop()
    with (desk.folder / NAME).open("ab") as file:
        file.write(b"more")
    with pytest.raises(ContentMoved):
        desk.upload.perform(effect)
    assert crm.requests == []


def test_a_file_cut_short_under_the_reader_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "r.ogg"
    path.write_bytes(b"x" * 100)
    with path.open("rb", buffering=0) as file:
        read = AsHashed(file, 200, hashlib.sha256(b"x" * 200).hexdigest())
        with pytest.raises(ContentMoved):
            b"".join(iter(lambda: read.read(64), b""))


class Unreadable:
    """Contents whose file opens, and whose every byte is refused, as on a sick disk or a share that went stale."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "unreadable"

    @contextmanager
    def open(self, item_id: int) -> Iterator[BinaryIO]:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600), "rb", buffering=0) as file:
            yield file

    def path(self, item_id: int) -> bytes:
        return os.fsencode(self._path)


def test_a_file_that_cannot_be_read_is_the_files_matter_and_no_defect(crm: LoopbackCrm, desk: Spool) -> None:
    upload = UploadPerformer(desk.settings, desk.client, Unreadable(desk.folder), desk.clock)
    with pytest.raises(ContentMoved, match="cannot be read"):
        upload.perform(desk.drop())
    assert crm.uploads == []


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("plain.ogg", "plain.ogg"),
        ("e\u0301.ogg", "\u00e9.ogg"),
        ("two words 📞.ogg", "two words 📞.ogg"),
        ("line\r\nContent-Type: evil\r\n\r\n.ogg", "line__Content-Type: evil____.ogg"),
        ("..\\..\\a/b.ogg", ".._.._a_b.ogg"),
        ("\u202egpj.ogg", "_gpj.ogg"),
        ("\udcff.ogg", "?.ogg"),
    ],
)
def test_names_from_hell_arrive_as_names(crm: LoopbackCrm, desk: Spool, name: str, sent: str) -> None:
    assert part_name(name) == sent
    effect = desk.drop()
    payload = {**effect.payload, "name": name}
    desk.upload.perform(Effect.of(effect.type, effect.identity, effect.dest, payload))
    assert crm.uploads[0].original_name == sent


def test_quotation_marks_cannot_end_the_name(crm: LoopbackCrm, desk: Spool) -> None:
    effect = desk.drop('a"; name="x".ogg')
    desk.upload.perform(effect)
    assert crm.uploads[0].original_name == "a%22; name=%22x%22.ogg"


def test_a_300_mb_recording_is_uploaded_in_flat_memory(crm: LoopbackCrm, tmp_path: Path) -> None:
    """A process of its own, so that its peak is the upload's; 300 MB in memory would be ten times the bound."""
    script = tmp_path / "upload.py"
    script.write_text(_UPLOAD_SPARSE, "utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), crm.upload_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert crm.uploads[-1].size == 300 << 20
    assert int(done.stdout) < 30 << 10  # KiB


_UPLOAD_SPARSE = """
import hashlib, os, resource, sys
from pathlib import Path
from tests.support.crm import crm_settings, spool

folder, url = Path(sys.argv[1]), sys.argv[2]
with spool(folder, crm_settings(upload_url=url, call_data_url=url)) as desk:
    desk.upload.perform(desk.drop("small.ogg"))
    digest = hashlib.sha256()
    for _ in range(300):
        digest.update(bytes(1 << 20))
    with (desk.folder / "big.ogg").open("wb") as file:
        file.truncate(300 << 20)
    effect = desk.drop("big.ogg", sha256=digest.hexdigest())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    desk.upload.perform(effect)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
