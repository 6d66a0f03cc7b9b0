-- Links by which a recording may be heard. Of the 128 bits that a link is, the ledger keeps the SHA-256 alone: whoever
-- reads a copy of it cannot hear anything.

CREATE TABLE link (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256        TEXT NOT NULL UNIQUE CHECK (length(sha256) = 64),
  recording_id  INTEGER NOT NULL REFERENCES item (id),
  anyone        INTEGER NOT NULL CHECK (anyone IN (0, 1)),   -- whoever has it may hear; else the token is needed too
  made_us       INTEGER NOT NULL,
  expires_us    INTEGER,
  revoked_us    INTEGER,
  plays         INTEGER NOT NULL DEFAULT 0,
  CHECK (anyone = 0 OR expires_us IS NOT NULL)
) STRICT;
CREATE INDEX link_by_recording ON link (recording_id);
