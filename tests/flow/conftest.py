"""Every flow test has its own site and its own CRM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.demo.crm import LoopbackCrm
from tests.support.process import Site


@pytest.fixture
def crm() -> Iterator[LoopbackCrm]:
    with LoopbackCrm() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, crm: LoopbackCrm) -> Site:
    return Site(
        tmp_path, CRM_UPLOAD_URL=crm.upload_url, CRM_CALL_DATA_URL=crm.calls_url, DEFAULT_CAMPAIGN_ID="campaign-1"
    )
