"""Where recordings go, as formats 9 tells it over HTTP and on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from daemon.contract import Json
from handlers.settings import StorageSettings

PROCESS, INFO = "/audio/process", "/audio/storage-info"


@dataclass(frozen=True, slots=True)
class Intake:
    """What the routes stand on. ``recordings`` is the watched folder, absolute; ``s3`` whether S3 is used."""

    settings: StorageSettings
    recordings: str
    s3: bool


def storage_info(settings: StorageSettings, s3: bool) -> dict[str, Json]:
    """``GET /audio/storage-info``."""
    folder = settings.local.dir
    return {
        "storage_type": "s3" if s3 else "local",
        "local_path": folder if os.path.isabs(folder) or folder.startswith(".") else f"./{folder}",
        "s3_bucket": settings.s3.bucket if s3 else None,
        "s3_enabled": s3,
    }
