-- Copies of copies (a later tier, whose source is what an earlier one made), packets copied rather than encoded, and
-- recordings that are looked at again because a person said so ('again').
CREATE TABLE compression_now (
  recording_id   INTEGER PRIMARY KEY REFERENCES item (id),   -- what the copy takes the place of
  state          TEXT NOT NULL CHECK (state IN ('made', 'verified', 'replaced', 'refused', 'left', 'again')),
  name           TEXT NOT NULL DEFAULT '',     -- of the copy, beside its source
  sha256         TEXT NOT NULL DEFAULT '',
  size           INTEGER NOT NULL DEFAULT 0,
  original_size  INTEGER NOT NULL,
  bitrate        INTEGER NOT NULL DEFAULT 0,   -- asked for; of what was left: that for which it was small already
  figures        TEXT NOT NULL DEFAULT '{}',   -- how close the copy is
  reason         TEXT NOT NULL DEFAULT '',
  copy_id        INTEGER REFERENCES item (id), -- what the watch took the copy in as
  source_id      INTEGER REFERENCES item (id), -- what the copy is made of, where that is an earlier, better one
  way            TEXT NOT NULL DEFAULT 'encode' CHECK (way IN ('encode', 'repack')),
  tries          INTEGER NOT NULL DEFAULT 0,   -- how often a person had it looked at again
  document       TEXT,                         -- the document beside it, as it was before it named the copy
  made_us        INTEGER NOT NULL,
  verified_us    INTEGER,
  replaced_us    INTEGER
) STRICT;
INSERT INTO compression_now (recording_id, state, name, sha256, size, original_size, bitrate, figures, reason, copy_id,
  document, made_us, verified_us, replaced_us)
SELECT recording_id, state, name, sha256, size, original_size, bitrate, figures, reason, copy_id, document, made_us,
  verified_us, replaced_us FROM compression;
DROP TABLE compression;
ALTER TABLE compression_now RENAME TO compression;
CREATE INDEX compression_by_content ON compression (sha256) WHERE sha256 != '';
CREATE INDEX compression_by_copy ON compression (copy_id) WHERE copy_id IS NOT NULL;
