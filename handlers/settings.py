"""The rooms' sections of the configuration. Every key has its default here, and its comment in ``config.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from daemon.contract import bitrate, duration, percent, size


def _not_negative(given: timedelta) -> timedelta:
    if given < timedelta(0):
        raise ValueError("a duration that is not negative")
    return given


def _positive(given: timedelta) -> timedelta:
    if given <= timedelta(0):
        raise ValueError("a duration above zero")
    return given


Offset = Annotated[timedelta, BeforeValidator(duration)]
Duration = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_not_negative)]
Timeout = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_positive)]
Percent = Annotated[float, BeforeValidator(percent)]
Bitrate = Annotated[int, BeforeValidator(bitrate)]
Size = Annotated[int, BeforeValidator(size)]


def _word(given: object) -> object:
    """YAML 1.1 reads the words on and off as booleans."""
    return {True: "on", False: "off"}.get(given, given) if isinstance(given, bool) else given


OLD_NAMES: Mapping[str, str] = {
    "CRM_UPLOAD_URL": "crm.upload_url",
    "CRM_CALL_DATA_URL": "crm.call_data_url",
    "DEFAULT_CAMPAIGN_ID": "crm.campaign_id",
    "DEFAULT_VOICE_AGENT_ID": "crm.voice_agent_id",
    "DEFAULT_CLIENT_ID": "crm.client_id",
    "UPLOAD_BATCH_SIZE": "crm.batch",
    "UPLOAD_RETRY_ATTEMPTS": "crm.attempts",
    "UPLOAD_TIMEOUT_SECONDS": "crm.timeout",
    "PROCESSED_DIR": "collect.markers",
    "TARGET_HOURS": "collect.target_hours",
    "S3_BUCKET_NAME": "storage.s3.bucket",
    "S3_REGION": "storage.s3.region",
    "S3_ENDPOINT_URL": "storage.s3.endpoint_url",
    "RECORDINGS_DIR": "watch.recordings",
    "CONVERSATIONS_DIR": "watch.conversations",
    "LEADS_DIR": "watch.leads",
}
"""The variable names of the system before, and the keys they set."""


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NamePattern(Section):
    """A regular expression over a recording's path, with named groups number, epoch, stamp, call, session, side, group
    or room. ``format`` is the stamp's strptime form where it is not ISO."""

    pattern: str
    format: str | None = None


class MatchSettings(Section):
    """Who belongs together."""

    window: Duration = timedelta(minutes=5)
    wait: Duration = timedelta(minutes=15)
    lead_wait: Duration = timedelta(minutes=2)
    confidence: float = Field(default=0.99, gt=0.5, le=1)
    held: Literal["deliver", "hold"] = "deliver"
    offset: Offset = timedelta(0)
    region: str = ""
    names: tuple[NamePattern, ...] = ()


class CrmSettings(Section):
    """Where calls are delivered, and with how much patience."""

    upload_url: str | None = None
    call_data_url: str | None = None
    token_file: str | None = None
    campaign_id: str | None = None
    voice_agent_id: str | None = None
    client_id: str | None = None
    timeout: Timeout = timedelta(seconds=30)
    attempts: int = Field(default=3, ge=1)
    retry: Annotated[tuple[Timeout, ...], Field(min_length=1)] = (
        timedelta(minutes=1),
        timedelta(minutes=5),
        timedelta(minutes=15),
    )
    batch: int = Field(default=10, ge=1, le=256)
    updates: Annotated[Literal["off", "repost"], BeforeValidator(_word)] = "off"
    in_doubt: Literal["resend", "hold"] = "resend"
    lookup_url: str | None = None
    success: str = "$.success"
    allow_plaintext: bool = False


class LocalStorage(Section):
    """The local store."""

    dir: str = "uploads"


class S3Storage(Section):
    """The S3-compatible store."""

    bucket: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    prefix: str = ""
    encryption: str = "AES256"
    storage_class: str | None = None
    checksums: Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)] = "auto"
    allow_plaintext: bool = False


class StorageSettings(Section):
    """Where audio is kept."""

    backend: Literal["auto", "local", "s3"] = "auto"
    after: Literal["keep", "remove"] = "keep"
    min_free: Size = 500 * 2**20
    local: LocalStorage = LocalStorage()
    s3: S3Storage = S3Storage()


class Tier(Section):
    """From this age on, this bitrate."""

    after: Duration
    bitrate: Bitrate


class CompressSettings(Section):
    """What happens to old audio."""

    tiers: tuple[Tier, ...] = (Tier(after=timedelta(days=7), bitrate=96_000),)
    min_saving: Percent = 0.2
    index: str | None = None
    at: str = "0 2 * * *"
    keep_original: Duration = timedelta(hours=24)


class CollectSettings(Section):
    """What is counted and reported."""

    target_hours: float | None = Field(default=None, gt=0)
    report_every: Timeout | None = None
    metadata: str | None = None
    markers: str = "processed_uploads"
