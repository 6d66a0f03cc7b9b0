"""The rooms' sections of the configuration. Every key has its default here, and its comment in ``config.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from daemon.contract import (
    Address,
    OwnFolder,
    SecretFile,
    bitrate,
    bitrate_text,
    duration,
    duration_text,
    folder,
    percent,
    percent_text,
    size,
    size_text,
)


def _not_negative(given: timedelta) -> timedelta:
    if given < timedelta(0):
        raise ValueError("a duration that is not negative")
    return given


def _positive(given: timedelta) -> timedelta:
    if given <= timedelta(0):
        raise ValueError("a duration above zero")
    return given


def _a_day(given: timedelta) -> timedelta:
    if given < timedelta(days=1):
        raise ValueError("a day or more")
    return given


def _pattern(given: str) -> str:
    try:
        re.compile(given)
    except re.error as error:
        raise ValueError(f"a regular expression; this one fails: {error}") from None
    return given


def _region(given: str) -> str:
    if given and not re.fullmatch("[A-Z]{2}", given):
        raise ValueError("a country code of two letters such as IN, or nothing")
    return given


def _json_path(given: str) -> str:
    if not re.fullmatch(r"\$(\.[^.\s]+)+", given):
        raise ValueError("a path such as $.success or $.data.ok")
    return given


HOURS_TO_READ = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects nobody can read at once."""


def _read_at_once(given: str) -> str:
    """A storage class whose objects can be read whenever somebody asks: verified, fetched, played."""
    if given.upper() in HOURS_TO_READ:
        raise ValueError("is a class whose objects take hours to be read: callspool could not verify them; GLACIER_IR")
    return given


def _cron(given: str) -> str:
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(given, timezone=UTC)
    except ValueError as error:
        raise ValueError(f"five fields as in cron, such as 0 2 * * *; this fails: {error}") from None
    return given


_SPELT_S = WithJsonSchema({"type": ["string", "number"], "examples": ["10s", "1h30m", "7d"]})
_WRITTEN = PlainSerializer(duration_text, return_type=str, when_used="json")
Offset = Annotated[timedelta, BeforeValidator(duration), _WRITTEN, _SPELT_S]
Duration = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_not_negative), _WRITTEN, _SPELT_S]
Timeout = Annotated[timedelta, BeforeValidator(duration), AfterValidator(_positive), _WRITTEN, _SPELT_S]
Folder = Annotated[str, AfterValidator(folder), OwnFolder()]
Percent = Annotated[
    float,
    BeforeValidator(percent),
    PlainSerializer(percent_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "number"], "examples": ["20%"]}),
]
Bitrate = Annotated[
    int,
    BeforeValidator(bitrate),
    PlainSerializer(bitrate_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["96k"]}),
]
Size = Annotated[
    int,
    BeforeValidator(size),
    PlainSerializer(size_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["500MB"]}),
]


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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NamePattern(Section):
    """A regular expression over a recording's path, with named groups number, epoch, stamp, call, session, side, group
    or room. ``format`` is the stamp's strptime form where it is not ISO."""

    pattern: Annotated[str, AfterValidator(_pattern)]
    format: str | None = None


class MatchSettings(Section):
    """Who belongs together."""

    window: Duration = timedelta(minutes=5)
    wait: Duration = timedelta(minutes=15)
    lead_wait: Duration = timedelta(minutes=2)
    confidence: float = Field(default=0.99, gt=0.5, le=1)
    held: Literal["deliver", "hold"] = "deliver"
    offset: Offset = timedelta(0)
    region: Annotated[str, AfterValidator(_region)] = ""
    names: tuple[NamePattern, ...] = ()


def _both(given: tuple[str, ...]) -> tuple[str, ...]:
    if given and sorted(given) != ["agent", "customer"]:
        raise ValueError("[agent, customer], [customer, agent], or nothing")
    return given


class AudioSettings(Section):
    """From where on a recording is doubted. Levels are decibels of full scale."""

    silent_db: float = Field(default=-60.0, le=0)
    quiet_db: float = Field(default=-40.0, le=0)
    clipped: Percent = 0.01
    short: Duration = timedelta(seconds=1)
    sides: Annotated[tuple[Literal["agent", "customer"], ...], AfterValidator(_both)] = ()

    def limits(self) -> Mapping[str, float]:
        """The same as numbers, by the names that the audio workers use."""
        return {
            "silent_db": self.silent_db,
            "quiet_db": self.quiet_db,
            "clipped": self.clipped,
            "short_s": self.short.total_seconds(),
        }


class CrmSettings(Section):
    """Where calls are delivered, and with how much patience."""

    upload_url: Annotated[str | None, Address(carries="crm.token_file")] = None
    call_data_url: Annotated[str | None, Address(carries="crm.token_file")] = None
    token_file: Annotated[str | None, SecretFile("CRM_TOKEN")] = None
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
    updates: Literal["off", "repost"] = "off"
    in_doubt: Literal["resend", "hold"] = "resend"
    lookup_url: Annotated[str | None, Address(carries="crm.token_file")] = None
    success: Annotated[str, AfterValidator(_json_path)] = "$.success"
    allow_plaintext: bool = False


LAYOUT_NAMES = ("conversation", "yyyy", "mm", "dd", "name", "file", "hash")
"""What a layout may name. ``name`` is the file's own name, ``file`` the same without any number in it."""


def _layout(given: str) -> str:
    """A path below the store out of fixed text and names in braces."""
    named = re.findall(r"\{([^{}]*)\}", given)
    rest = re.sub(r"\{[^{}]*\}", "x", given)
    if [name for name in named if name not in LAYOUT_NAMES] or "{" in rest or "}" in rest:
        raise ValueError("a path with names such as {conversation}; known are " + ", ".join(LAYOUT_NAMES))
    if rest.startswith("/") or any(part in ("", ".", "..") for part in rest.split("/")) or "\\" in rest:
        raise ValueError("a relative path without empty parts")
    return given


def _audio_layout(given: str) -> str:
    if not {"{name}", "{file}", "{hash}"} & set(re.findall(r"\{[^{}]*\}", given.rpartition("/")[2])):
        raise ValueError("a path that ends in the recording's {name}, {file} or {hash}")
    return _layout(given)


def zone_of(name: str) -> tzinfo | None:
    """The zone of ``watch.timezone``; None, which stands for the host's own, where it is ``host``.

    Raises ZoneInfoNotFoundError or ValueError for a name that is no zone.
    """
    return None if name == "host" else ZoneInfo(name)


def minutes_of(hours: str) -> tuple[int, int]:
    """First and last minute of the day of hours such as ``08:00-18:00``."""
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in hours.split("-"))
    return first, last


def within(hours: str, local: datetime) -> bool:
    """Whether hours such as ``22:00-06:00``, which may go past midnight, hold at a moment of their own zone."""
    minute = local.hour * 60 + local.minute
    first, last = minutes_of(hours)
    return first <= minute < last if first < last else minute >= first or minute < last


def _hours(given: str) -> str:
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", given)
    if found is None or given[:5] == given[6:]:
        raise ValueError("hours such as 08:00-18:00 or 22:00-06:00")
    return given


Layout = Annotated[str, AfterValidator(_layout)]
AudioLayout = Annotated[str, AfterValidator(_audio_layout)]


class LocalStorage(Section):
    """The local store."""

    dir: Folder = "uploads"
    audio: AudioLayout = "{conversation}/{yyyy}/{mm}/{dd}/{name}"
    transcripts: Layout = "{conversation}/{yyyy}/{mm}/{dd}"


class Pace(Section):
    """In these hours no more bytes a second than this go out; 0: none at all."""

    between: Annotated[str, AfterValidator(_hours)]
    limit: Size


class S3Storage(Section):
    """The S3-compatible store. Of its credentials only a session token travels; the others sign."""

    bucket: str | None = None
    region: str | None = None
    endpoint_url: Annotated[str | None, Address(carries="storage.s3.session_token_file")] = None
    access_key_id_file: Annotated[str | None, SecretFile("AWS_ACCESS_KEY_ID")] = None
    secret_access_key_file: Annotated[str | None, SecretFile("AWS_SECRET_ACCESS_KEY")] = None
    session_token_file: Annotated[str | None, SecretFile("AWS_SESSION_TOKEN")] = None
    prefix: str = ""
    audio: AudioLayout = "audio/{conversation}/{yyyy}/{mm}/{dd}/{file}"
    transcripts: Layout = "transcripts/{conversation}/{yyyy}/{mm}/{dd}"
    encryption: Literal["AES256", "aws:kms", "none"] = "AES256"
    kms_key_id: str | None = None
    storage_class: str | None = None
    class_from_size: Size = 128 * 2**10
    class_from_age: Duration = timedelta(0)
    archive_after: Duration | None = None
    archive_class: Annotated[str, AfterValidator(_read_at_once)] = "GLACIER_IR"
    tags: Mapping[str, str] = {}
    checksums: Literal["auto", "on", "off"] = "auto"
    part_size: Annotated[Size, Field(ge=5 * 2**20, le=64 * 2**20)] = 8 * 2**20
    connections: int = Field(default=8, ge=1, le=64)
    timeout: Timeout = timedelta(seconds=60)
    pace: tuple[Pace, ...] = ()
    allow_plaintext: bool = False


class StorageSettings(Section):
    """Where audio is kept."""

    backend: Literal["auto", "local", "s3"] = "auto"
    after: Literal["keep", "remove"] = "keep"
    grace: Duration = timedelta(hours=24)
    follow_compression: bool = True
    min_free: Size = 500 * 2**20
    workers: int = Field(default=4, ge=1, le=64)
    retry: Annotated[tuple[Timeout, ...], Field(min_length=1)] = (
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
    )
    price_per_gb: float | None = Field(default=None, ge=0)
    upload_limit: Size = 2 * 2**30
    local: LocalStorage = LocalStorage()
    s3: S3Storage = S3Storage()


class Tier(Section):
    """From this age on, this bitrate."""

    after: Duration
    bitrate: Bitrate


class VerifySettings(Section):
    """How close a copy must be to its source. The defaults lie between the worst of good copies and the best of damaged
    ones that were measured."""

    samples: int = Field(default=960, ge=0)
    correlation: float = Field(default=0.985, gt=0, le=1)
    level_db: float = Field(default=1.0, gt=0)
    worst_second_db: float = Field(default=12.0, gt=0)
    spectrum_db: float = Field(default=4.0, gt=0)
    dropout: Duration = timedelta(milliseconds=60)
    steady_db: float = Field(default=2.0, gt=0)


class CompressSettings(Section):
    """What happens to old audio."""

    tiers: tuple[Tier, ...] = (Tier(after=timedelta(days=7), bitrate=96_000),)
    min_saving: Percent = 0.2
    copy_packets: bool = True
    index: str | None = None
    log_file: str | None = None
    dry_run: bool = False
    at: Annotated[str, AfterValidator(_cron)] = "0 2 * * *"
    between: Annotated[str, AfterValidator(_hours)] | None = None
    max_load: float | None = Field(default=None, gt=0)
    on_battery: bool = False
    nice: int = Field(default=10, ge=0, le=19)
    keep_original: Duration = timedelta(hours=24)
    delete_originals: bool = True
    workers: int | None = Field(default=None, ge=1, le=256)
    application: Literal["audio", "voip"] = "audio"
    complexity: int = Field(default=10, ge=0, le=10)
    verify: VerifySettings = VerifySettings()


class RetentionRule(Section):
    """From this age on, counted from when the call reached ``state``, these sources are removed.

    ``delivered``: the CRM has accepted it. ``stored``: that, and every object of the call is verified in storage where
    it belongs.
    """

    after: Annotated[Duration, AfterValidator(_a_day)]
    state: Literal["delivered", "stored"] = "delivered"
    remove: Annotated[tuple[Literal["recordings", "conversations", "leads"], ...], Field(min_length=1)]


class RetentionSettings(Section):
    """What is let go by age. Nothing that was not delivered is ever removed."""

    rules: tuple[RetentionRule, ...] = ()
    at: Annotated[str, AfterValidator(_cron)] = "30 3 * * *"


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def days_of(given: str) -> frozenset[int]:
    """The days of the week that words such as ``mon-fri,sun`` name. Raises ValueError."""
    found: set[int] = set()
    for part in given.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError("days such as mon-fri or mon,wed,sat")
        begin = DAYS.index(first)
        length = (DAYS.index(last) - begin) % 7 if dash else 0
        found |= {(begin + nth) % 7 for nth in range(length + 1)}
    return frozenset(found)


def _days(given: str) -> str:
    days_of(given)
    return given


LEAST_TARGET_H, MOST_TARGET_H = 0.001, 1e9
"""Bounds of a target, in hours: of less than a few seconds nothing can be said in percent."""


class CollectSettings(Section):
    """What is counted and reported."""

    target_hours: float | None = Field(default=None, ge=LEAST_TARGET_H, le=MOST_TARGET_H)
    counts: Literal["received", "usable", "unique", "delivered"] = "usable"
    stop_at_target: bool = False
    report_every: Timeout | None = None
    silence: Timeout | None = None
    working_days: Annotated[str, AfterValidator(_days)] = "mon-fri"
    working_hours: Annotated[str, AfterValidator(_hours)] = "09:00-18:00"
    metadata: str | None = None
    reports: Folder = "reports"
    markers: Folder = "processed_uploads"


class NotifySettings(Section):
    """Whom to tell what is wrong."""

    urls_file: Annotated[str | None, SecretFile("NOTIFY_URLS")] = None
    after: Duration = timedelta(minutes=2)
    retry: Annotated[tuple[Timeout, ...], Field(min_length=1)] = (timedelta(minutes=1), timedelta(minutes=5))
