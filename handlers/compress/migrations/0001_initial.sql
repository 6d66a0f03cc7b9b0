-- What became of recordings whose time for compression had come. Times are microseconds since the epoch (UTC).

-- 'made': a copy is encoded, under a temporary or its own name; 'verified': it was read back and is close to its
-- source, which lies beside it still; 'replaced': the source was let go; 'refused': the copy was not close enough and was
-- removed; 'left': nothing would be saved.
CREATE TABLE compression (
  recording_id   INTEGER PRIMARY KEY REFERENCES item (id),
  state          TEXT NOT NULL CHECK (state IN ('made', 'verified', 'replaced', 'refused', 'left')),
  name           TEXT NOT NULL DEFAULT '',     -- of the copy, beside its source
  sha256         TEXT NOT NULL DEFAULT '',
  size           INTEGER NOT NULL DEFAULT 0,
  original_size  INTEGER NOT NULL,
  bitrate        INTEGER NOT NULL DEFAULT 0,
  figures        TEXT NOT NULL DEFAULT '{}',   -- how close the copy is
  reason         TEXT NOT NULL DEFAULT '',
  copy_id        INTEGER REFERENCES item (id), -- what the watch took the copy in as
  document       TEXT,                         -- the document beside it, as it was before it named the copy
  made_us        INTEGER NOT NULL,
  verified_us    INTEGER,
  replaced_us    INTEGER
) STRICT;
CREATE INDEX compression_by_content ON compression (sha256) WHERE sha256 != '';
CREATE INDEX compression_by_copy ON compression (copy_id) WHERE copy_id IS NOT NULL;
