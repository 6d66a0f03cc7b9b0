"""Where the state folder keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Where the state folder keeps what."""

    folder: Path

    @property
    def ledger(self) -> Path:
        """The SQLite file."""
        return self.folder / "ledger.db"

    @property
    def lock(self) -> Path:
        """The kernel lock's file."""
        return self.folder / "ledger.lock"

    @property
    def copies(self) -> Path:
        """Daily copies, and those taken before migrations."""
        return self.folder / "copies"

    @property
    def beat(self) -> Path:
        """How often the ledger was found alive, kept beside it: a ledger that counts less is an older copy."""
        return self.folder / "ledger.beat"

    @property
    def host(self) -> Path:
        """The host id, kept beside the ledger: one that begins anew here is the same host's, and knows what is ours."""
        return self.folder / "host_id"

    @property
    def control(self) -> Path:
        """The running daemon's socket."""
        return self.folder / "control.sock"
