"""Erasing from a bucket that keeps versions: none of them, no mark of a deletion and no begun upload is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from daemon.clock import SystemClock
from handlers.settings import S3Storage, StorageSettings
from handlers.storage.kept import Kept
from handlers.storage.pace import Hours
from handlers.storage.service import Credentials, s3_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

KEY, OTHER = "calls/2025/a.ogg", "calls/2025/a.ogg.json"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def client_of(endpoint: str) -> Any:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=endpoint, **keys)


@pytest.mark.parametrize("versioned", [True, False])
def test_every_version_goes_and_nothing_beside_it(endpoint: str, versioned: bool) -> None:
    client, bucket = client_of(endpoint), f"bucket-{versioned}".lower()
    client.create_bucket(Bucket=bucket)
    if versioned:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"first", b"second"):
        client.put_object(Bucket=bucket, Key=KEY, Body=body)
    client.delete_object(Bucket=bucket, Key=KEY)
    client.put_object(Bucket=bucket, Key=KEY, Body=b"third")
    client.put_object(Bucket=bucket, Key=OTHER, Body=b"another's")
    client.create_multipart_upload(Bucket=bucket, Key=KEY)
    settings = StorageSettings(backend="s3", s3=S3Storage(bucket=bucket, endpoint_url=endpoint))
    store = s3_of(settings, Credentials("a", "b", None), Kept(), Hours(settings.s3.pace, None), SystemClock())
    assert store is not None

    store.erase(KEY)
    store.erase(KEY)  # again, without harm

    left = client.list_object_versions(Bucket=bucket)
    assert [one["Key"] for one in (*left.get("Versions", ()), *left.get("DeleteMarkers", ()))] == [OTHER]
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
