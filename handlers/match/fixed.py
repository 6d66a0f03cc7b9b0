"""What is beyond question: partners that a person chose, or that were sent with their call.

Everything else is decided anew whenever something near it arrives.
"""

from __future__ import annotations

from datetime import datetime

from daemon.contract import Reader
from handlers import records


def fixed_group(read: Reader, conversation_id: int, *, sent_too: bool = True) -> str | None:
    """The conversation's recording where a person chose it or it was sent already; None while it is open.

    ``sent_too`` False: only what a person chose, to ask what evidence would say of the rest. A recording whose every
    file has a newer version is open again, and so is the pairing of an older transcript.
    """
    held = records.pairing(read, conversation_id)
    if held is None or records.replaced_by(read, conversation_id) is not None:
        return None
    beyond = held.decided_by == "person" or (sent_too and _sent_since(read, conversation_id, held.decided_at))
    return held.group if beyond and records.recording_ids(read, held.group) else None


def fixed_lead(read: Reader, conversation_id: int) -> int | None:
    """The conversation's lead where a person chose it or it was sent already; None while it is open."""
    held = records.lead_pairing(read, conversation_id)
    if held is None or records.replaced_by(read, conversation_id) is not None:
        return None
    beyond = held.decided_by == "person" or _sent_since(read, conversation_id, held.decided_at)
    return held.lead_id if beyond and not records.lead_replaced(read, held.lead_id) else None


def _sent_since(read: Reader, conversation_id: int, decided_at: datetime) -> bool:
    """Whether the call was to be sent, or was, after its partner had been decided."""
    call = records.call(read, conversation_id)
    if call is None:
        return False
    return any(at is not None and at >= decided_at for at in (call.fixed_at, call.delivered_at))
