"""The main job as an operator sees it: files go in, one call comes out."""

from __future__ import annotations

import json

from handlers.demo.crm import LoopbackCrm
from tests.support.calls import FieldCall
from tests.support.process import Site, eventually


def test_a_calls_files_become_one_delivered_call(site: Site, crm: LoopbackCrm) -> None:
    call = FieldCall(lead=True)
    with site.daemon() as daemon:
        daemon.wait_for("daemon.started")
        call.drop(site)
        crm.wait(lambda books: bool(books.calls), 20)
        daemon.wait_for("crm.accepted")
        marker = site.folder / "processed_uploads" / f"{call.transcript_name}.uploaded"
        eventually(marker.exists, "the marker")
        assert daemon.stop() == 0
    (upload,) = crm.uploads
    assert upload.original_name == call.recording_name
    ((call_id, posted),) = crm.calls.items()
    (body,) = posted.bodies
    details = body["callDetails"]
    assert call_id == f"CALL-20251029-064824-{call.phone[-5:]}"
    assert body["campaignId"] == "campaign-1"
    assert details["callerNumber"] == call.phone == body["caller"]["phoneNumber"]
    assert details["recordingUrl"] == upload.url
    assert (details["recordingDuration"], details["recordingSize"]) == (3, upload.size)
    assert (details["startTime"], details["endTime"]) == ("2025-10-29T06:48:24.123Z", "2025-10-29T06:48:27.123Z")
    assert body["transcription"] == call.transcript()
    assert body["lead"]["company"] == "Acme"
    told = json.loads(marker.read_text())
    assert told["call_data_uploaded"] is True
    assert told["recording_url"] == upload.url
    assert told["lead_uploaded"] is True
