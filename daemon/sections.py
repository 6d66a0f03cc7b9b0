"""The machine's own sections of the configuration. Every key has its default here, and its comment in
``config.yaml``; the rooms' sections are theirs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from daemon.folders import OwnFolder, folder
from daemon.outward import Address, SecretFile
from daemon.quantities import duration, duration_text

FOLDERS = ("recordings", "conversations", "leads")


def _positive(given: timedelta) -> timedelta:
    if given <= timedelta(0):
        raise ValueError("a duration above zero")
    return given


def _since(given: object) -> object:
    if given in ("install", "all"):
        return given
    try:
        return given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
    except ValueError:
        raise ValueError("install, all, or an ISO time") from None


def _zone(given: str) -> str:
    if given != "host":
        try:
            ZoneInfo(given)
        except (KeyError, ValueError, OSError):
            raise ValueError("host, UTC, or a zone such as Asia/Kolkata") from None
    return given


def _poll(given: object) -> object:
    modes = ("auto", "always", "never")
    if isinstance(given, Mapping):
        if all(folder in FOLDERS and mode in modes for folder, mode in given.items()):
            return given
    elif given in modes:
        return given
    raise ValueError("auto, always, never, or one of these for each of " + ", ".join(FOLDERS))


def _listen(given: object) -> str:
    if given in (False, "off"):  # YAML reads off as false
        return "off"
    return _address(str(given))


def _address(given: str) -> str:
    host, colon, port = given.rpartition(":")
    whole = colon and host and port.isascii() and port.isdigit() and int(port) < 65536
    if not whole or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ValueError("an address such as 127.0.0.1:8888 or [::1]:8888, or off")
    return given


def _file_name(given: str) -> str:
    if "/" in given or given in (".", ".."):
        raise ValueError("a file name without folders")
    return given


Window = Annotated[
    timedelta,
    BeforeValidator(duration),
    AfterValidator(_positive),
    PlainSerializer(duration_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": ["string", "number"], "examples": ["10s", "1h30m", "7d"]}),
]
Folder = Annotated[str, AfterValidator(folder), OwnFolder()]
Poll = Literal["auto", "always", "never"]


class Section(BaseModel):
    """A part of the configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Quiet(Section):
    """How long a file must stand still where proof is lacking."""

    audio: Window = timedelta(seconds=10)
    json_: Window = Field(default=timedelta(seconds=2), alias="json")
    unproved: Window = timedelta(minutes=3)


class WatchSettings(Section):
    """The watched folders and how their files settle."""

    recordings: Folder = "recordings"
    conversations: Folder = "conversations"
    leads: Folder = "leads"
    timezone: Annotated[str, AfterValidator(_zone)] = "host"
    scan_every: Window = timedelta(seconds=60)
    quiet: Quiet = Quiet()
    max_settle: Window = timedelta(hours=6)
    since: Annotated[Literal["install", "all"] | datetime, BeforeValidator(_since)] = "install"
    ready_suffix: Annotated[str, AfterValidator(_file_name)] = ""
    ignore: tuple[str, ...] = ()
    poll: Annotated[Poll | Mapping[str, Poll], BeforeValidator(_poll)] = "auto"
    guard: Annotated[str, AfterValidator(_file_name)] = ""

    @field_validator("since")
    @classmethod
    def _zoned(cls, given: datetime | str, info: ValidationInfo) -> datetime | str:
        """A time that names no zone is in ``timezone``."""
        if isinstance(given, str) or given.tzinfo is not None:
            return given
        zone = info.data.get("timezone", "host")
        return given.astimezone() if zone == "host" else given.replace(tzinfo=ZoneInfo(zone))


class StateSettings(Section):
    """Where the ledger lies."""

    dir: Folder = "state"


class HttpSettings(Section):
    """Where the daemon listens."""

    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:8888"
    token_file: Annotated[str | None, SecretFile("HTTP_TOKEN")] = None
    healthcheck_url: Annotated[str | None, Address()] = None


class LogSettings(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class MachineConfig(Section):
    """The machine's sections."""

    watch: WatchSettings = WatchSettings()
    state: StateSettings = StateSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
