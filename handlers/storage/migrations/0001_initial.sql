-- Where every copy is. Times are microseconds since the epoch (UTC).

-- How a call (or a recording without one) is called in storage: fixed at the first intent, so that what comes later lies
-- beside what is there.
CREATE TABLE storage_name (
  subject_id  INTEGER PRIMARY KEY REFERENCES item (id),   -- the conversation, or the recording that has none
  name        TEXT NOT NULL,
  day         TEXT NOT NULL                               -- YYYY-MM-DD, UTC
) STRICT;

-- One row for each key in each place, from the intent on. A row says what the ledger knows, never what it hopes:
-- 'intended' may be there or not, 'verified' was read or asked back and is what was meant, 'conflict' is a key under which
-- somebody else's content lies, 'refused' was not taken and waits for a person, 'removed' was let go.
CREATE TABLE copy (
  place        TEXT NOT NULL CHECK (place IN ('local', 's3')),
  bucket       TEXT NOT NULL,                 -- empty for the local store
  key          TEXT NOT NULL COLLATE NOCASE,  -- file systems that mind no case must not meet two that differ by it
  subject_id   INTEGER NOT NULL REFERENCES item (id),
  role         TEXT NOT NULL CHECK (role IN ('audio', 'metadata', 'transcript', 'document', 'lead', 'sidecar')),
  item_id      INTEGER REFERENCES item (id),  -- the item whose very bytes it holds; none for what callspool wrote
  sha256       TEXT NOT NULL CHECK (length(sha256) = 64),
  size         INTEGER NOT NULL CHECK (size >= 0),
  state        TEXT NOT NULL CHECK (state IN ('intended', 'verified', 'conflict', 'refused', 'removed')),
  proof        TEXT NOT NULL DEFAULT '',      -- how it was verified
  reason       TEXT NOT NULL DEFAULT '',
  bound_for    TEXT,                          -- the JSON of the object that is to move to S3; none where it is at home
  intended_us  INTEGER NOT NULL,
  verified_us  INTEGER,
  changed_us   INTEGER NOT NULL,
  PRIMARY KEY (place, bucket, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX copy_by_subject ON copy (subject_id);
CREATE INDEX copy_by_item ON copy (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX copy_bound ON copy (intended_us) WHERE bound_for IS NOT NULL;

-- Uploads in parts that were begun and not ended: resumed by their id, or aborted.
CREATE TABLE multipart (
  bucket     TEXT NOT NULL,
  key        TEXT NOT NULL,
  upload_id  TEXT NOT NULL,
  begun_us   INTEGER NOT NULL,
  PRIMARY KEY (bucket, key)
) STRICT, WITHOUT ROWID;

-- What a service was found to do, by asking it.
CREATE TABLE storage_probe (
  service    TEXT PRIMARY KEY,                -- endpoint and bucket
  found      TEXT NOT NULL,
  probed_us  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
