"""What the stores hold, as stories look at it."""

from __future__ import annotations

import json

from tests.support.process import DaemonProcess, Site, eventually
from tests.support.s3 import BUCKET, client


def objects(url: str) -> dict[str, bytes]:
    """Everything in the bucket, but what is asked there."""
    held = client(url)
    found = held.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    keys = [one["Key"] for one in found if ".callspool-probe" not in one["Key"]]
    return {key: timeless(key, held.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys}


def empty(url: str) -> None:
    """Leave nothing in the bucket."""
    held = client(url)
    for one in held.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        held.delete_object(Bucket=BUCKET, Key=one["Key"])


def timeless(key: str, data: bytes) -> bytes:
    """A sidecar without the id in the CRM, which it gains when it is written again after that was fixed."""
    if not key.endswith("_call.json"):
        return data
    return json.dumps({name: value for name, value in json.loads(data).items() if name != "crm"}).encode()


def uploads(site: Site) -> dict[str, bytes]:
    """Everything in the local store."""
    folder = site.folder / "uploads"
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {key: timeless(key, data) for key, data in found.items()}


def stored(daemon: DaemonProcess, site: Site, count: int) -> None:
    """Wait until so many calls are whole in storage and nothing is open."""
    query = "SELECT count(DISTINCT subject_id) FROM copy WHERE role = 'sidecar' AND state = 'verified'"
    eventually(lambda: site.rows(query) and site.rows(query)[0][0] >= count, f"{count} calls stored")
    eventually(lambda: not site.rows("SELECT 1 FROM copy WHERE bound_for IS NOT NULL"), "nothing waits to move")
    site.rest()
