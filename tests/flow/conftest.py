"""Every flow test has its own site and its own CRM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.flow.stored import empty
from tests.support.process import Site
from tests.support.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, Awkward, awkward, moto


@pytest.fixture
def crm() -> Iterator[LoopbackCrm]:
    with LoopbackCrm() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, crm: LoopbackCrm) -> Site:
    return Site(
        tmp_path, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url, DEFAULT_CAMPAIGN_ID="campaign-1"
    )


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def proxy(service: str) -> Iterator[Awkward]:
    empty(service)
    with awkward(service) as told:
        yield told


@pytest.fixture
def cloudy(tmp_path: Path, crm: LoopbackCrm, proxy: Awkward) -> Site:
    """A site whose storage is S3, named by the variables of the system before alone."""
    return Site(
        tmp_path,
        CRM_UPLOAD_URL=crm.upload_url,
        CRM_CALL_DATA_URL=crm.calls_url,
        S3_BUCKET_NAME=BUCKET,
        S3_ENDPOINT_URL=proxy.url,
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        CALLSPOOL_STORAGE__RETRY="[200ms, 500ms]",
        CALLSPOOL_STORAGE__S3__TIMEOUT="3s",
    )
