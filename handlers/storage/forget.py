"""What storage holds of items that are to be erased: every copy in every place, every version, every begun upload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from daemon.contract import Reader, Removal, Traces
from handlers import records
from handlers.storage.local import LocalStore

if TYPE_CHECKING:
    from handlers.storage.s3 import S3Store


def traces(local: LocalStore, s3: S3Store | None, read: Reader, ids: Sequence[int]) -> Traces:
    """Their copies as removals; keys and names as words. A copy in a bucket that is not in use any more is a person's
    to remove."""
    held = records.copies_about(read, ids)
    removals, todo = [], []
    for place, bucket, key in held:
        if place == "local":
            removals.append(Removal(f"local store: {key}", partial(local.delete, key)))
        elif s3 is not None and s3.bucket == bucket:
            removals.append(Removal(f"s3://{bucket}/{key}", partial(s3.erase, key)))
        else:
            todo.append(f"S3: erase every version of s3://{bucket}/{key}, which is not configured here")
    keys = [key for _place, _bucket, key in held]
    words = (*keys, *(key.rpartition("/")[2] for key in keys), *records.storage_names(read, ids))
    return Traces(words=tuple(dict.fromkeys(words)), removals=tuple(removals), todo=tuple(todo))
