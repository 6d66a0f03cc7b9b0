"""A lead's document and name → Lead. The object is passed on as it is; only what ties it to a call is read."""

from __future__ import annotations

from daemon.contract import Item
from handlers.intake import fields, phones, times
from handlers.intake.conversation import Reading, caller, name_time
from handlers.intake.documents import Document
from handlers.intake.names import Evidence
from handlers.model import Lead

TIME_KEYS = ("takenat", "capturedat", "timestamp", "createdat", "savedat", "time")


def lead(item: Item, document: Document, said: Evidence, reading: Reading) -> Lead:
    """The lead in a document; ``stamp`` is its transcript's stamp in its name, ``taken_at`` its own time."""
    body, zone = document.fields, reading.zone
    written = fields.find(body, TIME_KEYS, lambda value: times.parse(value, zone))
    return Lead(
        id=item.id,
        name=item.name,
        document=body,
        stamp=name_time(said.stamp, zone),
        taken_at=name_time(said.taken, zone) or written,
        session_id=fields.find(body, fields.SESSION_KEYS, fields.identifier) or said.session,
        number=caller(body, reading.region) or phones.e164(said.number, reading.region),
        registered_at=item.first_seen_at,
    )
