"""How many calls a second, from files in folders to calls in the CRM, and how many a bare HTTP loop makes of it?

Each set is a recording of 360 kB (90 s of Opus) and a transcript. The files are made beforehand and renamed into the
watched folders at once; the daemon runs with an operator's defaults and is timed from the first rename until the CRM
has accepted the last call. Its peers send the same two requests for each set, the recordings' bytes and the same call
data, out of one httpx client with the daemon's settings: one after the other, and ``crm.batch`` (10) at once. Every
time the CRM is a fresh process on the same machine. Peers run before and after the daemon.

    python -m tests.bench.sets_per_second [--sets 500] [--json]

Wanted: at least half of what the bare loop does one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.bench.figures import Recordings, Report, cpu_s, family, options, plain_site, resident_mb, workshop
from tests.support.calls import FieldCall
from tests.support.process import DaemonProcess, Site

SECONDS = 90.0
BATCH = 10
"""The default of ``crm.batch``."""


@contextmanager
def crm_process() -> Iterator[tuple[int, dict[str, str]]]:
    """A CRM as a process of its own: its id, and where it listens."""
    with subprocess.Popen([sys.executable, "-m", "handlers.demo.crm"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())
        finally:
            process.terminate()


def prepare(folder: Path, sets: int) -> list[FieldCall]:
    """Every set's files, in a folder on the same disk as the watched ones."""
    folder.mkdir(parents=True)
    recordings = Recordings(folder, SECONDS)
    calls = [FieldCall(nth, SECONDS) for nth in range(sets)]
    for call in calls:
        (folder / call.recording_name).write_bytes(recordings.content(call.nth))
        (folder / call.transcript_name).write_text(json.dumps(call.transcript()))
    return calls


def accepted(url: str) -> dict[str, Any]:
    """All that a CRM holds."""
    with urllib.request.urlopen(url + "/_control", timeout=60) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def send(client: httpx.Client, addresses: dict[str, str], store: Path, call: FieldCall) -> None:
    """Both requests of one set, as the formats say."""
    with (store / call.recording_name).open("rb") as file:
        form = {"file": (call.recording_name, file, "audio/ogg")}
        answer = client.post(addresses["upload_url"], files=form, headers={"Idempotency-Key": f"u{call.nth}"})
    url = answer.raise_for_status().json()["data"]["url"]
    transcript = json.loads((store / call.transcript_name).read_bytes())
    details = {"callId": f"CALL-{call.nth}", "direction": "inbound", "recordingUrl": url, "status": "completed"}
    details |= {"startTime": transcript["start_time"], "endTime": transcript["end_time"], "callerNumber": call.phone}
    body = {"callDetails": details, "caller": {"phoneNumber": call.phone}, "transcription": transcript}
    answer = client.post(addresses["calls_url"], json=body, headers={"Idempotency-Key": f"c{call.nth}"})
    assert answer.raise_for_status().json()["success"] is True


def bare(store: Path, calls: list[FieldCall], at_once: int) -> float:
    """Sets a second of the bare loop."""
    with crm_process() as (_, addresses):
        limits = httpx.Limits(max_connections=BATCH, max_keepalive_connections=BATCH, keepalive_expiry=4.0)
        with httpx.Client(limits=limits, timeout=30.0) as client, ThreadPoolExecutor(at_once) as pool:
            began = time.monotonic()
            if at_once == 1:
                for call in calls:
                    send(client, addresses, store, call)
            else:
                list(pool.map(lambda call: send(client, addresses, store, call), calls))
            return len(calls) / (time.monotonic() - began)


def drop(site: Site, store: Path, calls: list[FieldCall]) -> None:
    """Rename every file into its folder."""
    for call in calls:
        (store / call.recording_name).rename(site.recordings / call.recording_name)
        (store / call.transcript_name).rename(site.conversations / call.transcript_name)


def delivered(daemon: DaemonProcess, sets: int) -> None:
    """Wait until the daemon has said that the CRM accepted every set."""
    place, calls = 0, set[str]()  # a call that is sent again is still one

    def all_of_them(lines: list[dict[str, Any]]) -> bool:
        nonlocal place
        calls.update(line["call_id"] for line in lines[place:] if line["event"] == "crm.accepted")
        place = len(lines)
        return len(calls) >= sets

    daemon.wait_until(all_of_them, f"{sets} accepted calls", 60.0 + sets)


def callspool(folder: Path, store: Path, calls: list[FieldCall]) -> dict[str, float]:
    """Sets a second of the daemon, with the processor seconds a set that it and the CRM use, and its memory."""
    with crm_process() as (crm_pid, addresses):
        urls = {"CRM_UPLOAD_URL": addresses["upload_url"], "CRM_CALL_DATA_URL": addresses["calls_url"]}
        site = plain_site(folder / "site", **urls)
        with site.daemon() as daemon:
            for role in ("recordings", "conversations", "leads"):
                daemon.wait_for("root.watched", role=role)
            pids = family(daemon.pid)
            used, crm_used = sum(map(cpu_s, pids)), cpu_s(crm_pid)
            began = time.monotonic()
            drop(site, store, calls)
            delivered(daemon, len(calls))
            took = time.monotonic() - began
            pids = family(daemon.pid)
            figures = {
                "sets_s": len(calls) / took,
                "cpu_ms": (sum(map(cpu_s, pids)) - used) / len(calls) * 1000,
                "crm_cpu_ms": (cpu_s(crm_pid) - crm_used) / len(calls) * 1000,
                "memory_mb": resident_mb(daemon.pid, "VmHWM"),
            }
            daemon.stop()
        state = accepted(addresses["url"])
        assert len(state["calls"]) == state["records"] == len(state["uploads"]) == len(calls)
        assert all("recordingUrl" in call["bodies"][0]["callDetails"] for call in state["calls"].values())
        return figures


def main() -> None:
    """Measure and print."""
    parser = options(__doc__ or "")
    parser.add_argument("--sets", type=int, default=500)
    given = parser.parse_args()
    with workshop(given.folder) as folder:
        calls = prepare(folder / "store", given.sets)
        prepare(folder / "outbox", given.sets)
        store = folder / "store"
        one, many = [bare(store, calls, 1)], [bare(store, calls, BATCH)]
        ours = callspool(folder, folder / "outbox", calls)
        one.append(bare(store, calls, 1))
        many.append(bare(store, calls, BATCH))
    peer, crowd = sum(one) / 2, sum(many) / 2
    report = Report(f"{given.sets} sets of 360 kB and a transcript, both requests", ("", "sets/s", "of the bare loop"))
    report.row("bare httpx loop, one at a time", peer, 1.0)
    report.row(f"bare httpx loop, {BATCH} at once", crowd, crowd / peer)
    report.row("callspool", ours["sets_s"], ours["sets_s"] / peer)
    report.result("share_of_bare_loop", ours["sets_s"] / peer, "at least 0.5")
    report.result("cpu_ms_a_set", ours["cpu_ms"], "–")
    report.result("crm_cpu_ms_a_set", ours["crm_cpu_ms"], "–")
    report.result("peak_memory_mb", ours["memory_mb"], "–")
    report.show(as_json=given.json)


if __name__ == "__main__":
    main()
