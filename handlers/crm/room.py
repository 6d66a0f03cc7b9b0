"""The room as a value: delivery to the CRM, and the markers that tell of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from daemon.contract import Fact, Fields, Finding, Lane, Machine, Patience, Reader, Room, Subject, Traces, Witness
from daemon.errors import DeliveryError
from handlers import records
from handlers.crm.client import CrmClient, origin_of
from handlers.crm.handler import KIND, CallHandler, Destinations, is_configured
from handlers.crm.markers import MARKER, SUFFIX, MarkerPerformer, first_start
from handlers.crm.performers import CALL, UPLOAD, CallPerformer, UploadPerformer
from handlers.settings import CrmSettings

_PREFIX = "c"
_SECRETS = frozenset({401, 403, 407})


def room(
    settings: CrmSettings,
    markers: str,
    token: str | None,
    machine: Machine,
    *,
    conversations: str = "conversations",
    renewed: Callable[[], str | None] = lambda: None,
) -> Room:
    """The room.

    ``markers`` is the absolute folder of markers, ``token`` the secret itself, which ``renewed`` reads anew;
    ``conversations`` is the name by which markers call the watched folder of transcripts.
    """
    client = CrmClient(
        timeout=settings.timeout,
        connections=settings.batch,
        token=token,
        for_token=tuple(url for url in (settings.upload_url, settings.call_data_url) if url),
        allow_plaintext=settings.allow_plaintext,
        clock=machine.clock,
        renewed=renewed,
    )
    dest = Destinations.of(settings)
    patience = Patience(tuple(settings.retry), settings.attempts)
    return Room(
        name="crm",
        handlers=(CallHandler(settings, markers, conversations),),
        lanes=(Lane("crm", (KIND,), workers=settings.batch, pause="deliver"),),
        performers={
            UPLOAD: UploadPerformer(settings, client, machine.contents, machine.clock),
            CALL: CallPerformer(settings, client, machine.clock),
            MARKER: MarkerPerformer(),
        },
        subjects={KIND: Subject("call_id", _PREFIX)},
        patience=dict.fromkeys((dest.upload, dest.call), patience),
        status=status,
        explain=explain,
        checks=(partial(check, settings, client),),
        first_start=partial(first_start, markers),
        adopt=(records.AllAdopted(),),
        redeliver=partial(first_start, markers),
        traces=partial(traces, markers),
        heard=heard,
        close=client.close,
    )


def status(read: Reader) -> Fields:
    """How many calls the CRM has."""
    return records.delivery_counts(read)


def explain(read: Reader, subject: str) -> Fields | None:
    """What the CRM knows of the call a person means; its ``callId`` is told here alone, to be looked for there."""
    found = records.find_calls(read, subject)
    call = records.call(read, found[-1]) if found else None
    if call is None:
        return None
    return {
        "crm_call_id": call.call_id,
        "fixed_at": None if call.fixed_at is None else call.fixed_at.isoformat(),
        "delivered_at": None if call.delivered_at is None else call.delivered_at.isoformat(),
        "delivered": call.delivered if call.spoken_for == "callspool" else None,
        "spoken_for": call.spoken_for,
    }


def heard(witnesses: Sequence[Witness], delivered: bool) -> tuple[Fact, ...]:
    """The ids that calls bear in the CRM, kept until their transcripts are read again."""
    calls = [witness for witness in witnesses if witness.sha256]
    return tuple(records.KnownCall(witness.sha256, witness.call_id, delivered) for witness in calls)


def traces(markers: str, read: Reader, ids: Sequence[int]) -> Traces:
    """The markers of these calls, and what the CRM holds of them: a person must ask for that there."""
    names = records.transcripts_of(read, ids)
    calls = [call for number in ids if (call := records.call(read, number)) is not None]
    todo = [
        f"the CRM: erase {call.call_id}" + (f" and its recording {call.recording_url}" if call.recording_url else "")
        for call in calls
        if call.call_id is not None
    ]
    todo += [
        "the CRM: erase what the system before callspool delivered of it" for c in calls if c.spoken_for == "marker"
    ]
    return Traces(files=tuple((markers, name + SUFFIX) for name in names), todo=tuple(todo))


def check(settings: CrmSettings, client: CrmClient, _read: Reader | None) -> Sequence[Finding]:
    """Reach both addresses as deliveries do (same TLS, same token), without creating anything."""
    if not is_configured(settings):
        fix = "set crm.upload_url and crm.call_data_url (CRM_UPLOAD_URL, CRM_CALL_DATA_URL)"
        return (Finding("crm", "warn", "not configured: calls wait, everything else works", fix),)
    addresses = {"crm.upload_url": settings.upload_url, "crm.call_data_url": settings.call_data_url}
    return tuple(_probe(name, url, client) for name, url in addresses.items() if url)


def _probe(name: str, url: str, client: CrmClient) -> Finding:
    where = "{}://{}:{}".format(*origin_of(url))
    try:
        status = client.options(url).status
    except DeliveryError as error:
        return Finding(name, "fail", f"{where}: {error.reason}", "is the CRM up, and the address right?", 20)
    said = f"{where} answers {status} to OPTIONS"
    if status in _SECRETS:
        return Finding(
            name, "fail", f"{said}: it does not accept our credentials", "put a valid token in crm.token_file", 21
        )
    if 300 <= status < 400:
        return Finding(name, "warn", f"{said}: redirects are not followed", f"set {name} to where it points")
    if status == 404:
        return Finding(
            name, "warn", f"{said}: the server is there, the path perhaps not", f"look at the path of {name}"
        )
    if status >= 500:
        return Finding(name, "warn", f"{said}: the server is there, but not well")
    return Finding(name, "ok", said)
