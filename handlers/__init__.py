"""The registry: which rooms there are. A new capability is a new room and one line here.

Rooms are imported when they are built, so that a verb that needs none of them answers in a blink.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from daemon.contract import Desk, Machine, Room
    from handlers.settings import (
        AudioSettings,
        CollectSettings,
        CompressSettings,
        CrmSettings,
        MatchSettings,
        NotifySettings,
        RetentionSettings,
        StorageSettings,
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rooms need of the configuration.

    Paths are absolute, but ``conversations_name`` and ``recordings_name`` are folders as the configuration names them;
    ``crm_token`` and ``notify_urls`` are the secrets themselves.
    """

    recordings: str
    conversations: str
    conversations_name: str
    leads: str
    timezone: str
    markers: str
    audio: AudioSettings
    compress: CompressSettings
    compress_index: str | None
    compress_log: str | None
    match: MatchSettings
    retention: RetentionSettings
    storage: StorageSettings
    storage_folder: str
    crm: CrmSettings
    collect: CollectSettings
    recordings_name: str
    metadata: str | None
    reports: str
    crm_token: str | None
    notify: NotifySettings
    notify_urls: str | None
    secret: Callable[[str], str | None]
    """Reads the secret of a ``*_file`` setting anew; None where it is not there or may not be used now."""


def rooms(settings: Settings, machine: Machine) -> tuple[Room, ...]:
    """Every room, built. The order is the one in which ``status`` and ``explain`` tell of them."""
    from handlers.audio.pool import Prober
    from handlers.collection.asked import Collection
    from handlers.collection.room import room as collection
    from handlers.compress.handler import Papers
    from handlers.compress.room import room as compress
    from handlers.compress.room import workers_of
    from handlers.crm.room import room as crm
    from handlers.intake.names import Configured
    from handlers.intake.room import intake
    from handlers.match.room import room as match
    from handlers.notify.room import room as notify
    from handlers.privacy.room import room as privacy
    from handlers.settings import zone_of
    from handlers.storage.room import room as storage
    from handlers.storage.service import Credentials
    from handlers.view.room import room as view

    zone = zone_of(settings.timezone)
    collected = Collection(settings.collect, settings.recordings_name, settings.match.wait, zone, settings.audio.sides)

    def credentials() -> Credentials:
        keys = ("access_key_id_file", "secret_access_key_file", "session_token_file")
        return Credentials(*(settings.secret(f"storage.s3.{key}") for key in keys))

    stored = storage(
        settings.storage,
        settings.storage_folder,
        credentials(),
        machine,
        timezone=settings.timezone,
        match_wait=settings.match.wait,
        renewed=credentials,
        crm=bool(settings.crm.upload_url and settings.crm.call_data_url),
        recordings=settings.recordings,
    )
    return (
        intake(
            recordings=settings.recordings,
            conversations=settings.conversations,
            leads=settings.leads,
            timezone=settings.timezone,
            region=settings.match.region,
            conventions=tuple(Configured(name.pattern, name.format) for name in settings.match.names),
            machine=machine,
            prober=Prober(limits=settings.audio.limits()),
        ),
        match(settings.match),
        crm(
            settings.crm,
            settings.markers,
            settings.crm_token,
            machine,
            conversations=settings.conversations_name,
            renewed=lambda: settings.secret("crm.token_file"),
        ),
        stored,
        compress(
            settings.compress,
            Prober(workers_of(settings.compress)),
            machine,
            timezone=settings.timezone,
            match_wait=settings.match.wait,
            papers=Papers(settings.compress_index, settings.compress_log),
        ),
        privacy(
            settings.retention,
            settings.match.region,
            machine,
            written=(settings.reports, *(() if settings.metadata is None else (settings.metadata,))),
        ),
        collection(
            collected,
            timezone=settings.timezone,
            metadata=settings.metadata,
            reports=settings.reports,
            machine=machine,
        ),
        notify(settings.notify, settings.notify_urls, machine),
        view(
            machine,
            settings.recordings,
            stored.holds,
            collected.report,
            lambda read, since: {day: total.hours for day, total in collected.by_day(read, since).items()},
            collected.zone,
        ),
    )


VERBS: tuple[tuple[tuple[str, ...], str, str, bool], ...] = (
    (("match",), "handlers.match.verbs", "verbs", True),
    (("hours",), "handlers.collection.verbs", "hours_verbs", True),
    (("report", "export", "import", "summary"), "handlers.collection.verbs", "other_verbs", False),
    (("inspect",), "handlers.audio.verbs", "verbs", False),
    (("compress", "savings"), "handlers.compress.verbs", "verbs", False),
    (("erase", "retention"), "handlers.privacy.verbs", "erase_verbs", False),
    (("hold",), "handlers.privacy.verbs", "hold_verbs", True),
    (("link",), "handlers.view.verbs", "verbs", True),
    (("storage",), "handlers.storage.verbs", "verbs", True),
    (("verify",), "handlers.storage.verbs", "verify_verbs", False),
)
"""The rooms' verbs: which, the module and the function that makes them, and whether they are a group of that name or
stand beside the machine's own."""


PLAIN: Mapping[str, tuple[Mapping[str, object], str, str]] = {
    "hours": ({"targets": [], "since": None, "by": ""}, "handlers.collection.text", "hours_text"),
}
"""The verbs that in their plainest form do nothing but ask the running daemon: what, and the module and the function
that make a text of the answer."""


def _join(agent: int, customer: int, out: int, media_s: float, *, customer_later_s: float, bitrate: int) -> int | None:
    """Two sides made one stereo file; see ``Prober.join``."""
    from handlers.audio.pool import Prober

    with Prober(1) as prober:
        return prober.join(agent, customer, out, media_s, customer_later_s=customer_later_s, bitrate=bitrate)


LENT: Mapping[str, Mapping[str, object]] = {"storage": {"join": _join}}
"""What a room's verbs use of another room, by the first of their names."""


def verbs(desk: Desk, wanted: str | None = None) -> tuple[tuple[str | None, typer.Typer], ...]:
    """The rooms' verbs, each group under its name; under None those that stand beside the machine's own. Of one verb
    that is ``wanted`` only its room is loaded. Needs no configuration."""
    return tuple(
        (names[0] if grouped else None, getattr(import_module(module), made)(desk, **LENT.get(names[0], {})))
        for names, module, made, grouped in VERBS
        if wanted is None or wanted in names
    )
