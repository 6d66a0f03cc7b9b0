"""What storage holds of an item, for whoever serves it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from daemon.contract import Held, Reader
from handlers import records
from handlers.storage.store import Store


def held(stores: Sequence[Store], read: Reader, item: int) -> Held | None:
    """The first verified copy of an item's very bytes, as ``stores`` are ordered; None where there is none."""
    copies = [copy for copy in records.copies_of_item(read, item) if copy.state == "verified"]
    for store in stores:
        for copy in copies:
            if (copy.place, copy.bucket) == (store.place, store.bucket):
                return Held(copy.key.rpartition("/")[2], copy.size, partial(store.open, copy.key))
    return None
