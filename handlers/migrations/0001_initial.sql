-- The domain's tables. Times are microseconds since the epoch (UTC) in columns ending in _us, seconds in columns
-- ending in _s, bytes in columns called size. The id of a recording, conversation or lead is its item's id, so
-- that c12, r13 and l14 never meet.

CREATE TABLE recording (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  group_key      TEXT NOT NULL,             -- the sides of one conversation share it; else 'r<id>'
  side           TEXT NOT NULL CHECK (side IN ('mixed', 'agent', 'customer')),
  name           TEXT NOT NULL,
  size           INTEGER NOT NULL CHECK (size > 0),
  container      TEXT NOT NULL,
  codec          TEXT NOT NULL,
  sample_rate    INTEGER NOT NULL,
  channels       INTEGER NOT NULL,
  media_s        REAL NOT NULL CHECK (media_s >= 0),
  span_s         REAL NOT NULL CHECK (span_s >= 0),
  header_s       REAL,
  audio_start_us INTEGER,                    -- the container's own clock
  audio_flags    TEXT NOT NULL DEFAULT '[]',
  start_us       INTEGER,
  start_source   TEXT,
  end_us         INTEGER,
  number         TEXT,
  session_id     TEXT,
  call_ref       TEXT,
  stamp_us       INTEGER,
  flags          TEXT NOT NULL DEFAULT '[]',
  registered_us  INTEGER NOT NULL,
  paired         INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1)),  -- kept by the triggers on pairing
  CHECK ((start_us IS NULL) = (start_source IS NULL))
) STRICT;
CREATE INDEX recording_by_group ON recording (group_key);
CREATE INDEX recording_by_start ON recording (start_us);
CREATE INDEX recording_by_end ON recording (end_us);
CREATE INDEX recording_by_session ON recording (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX recording_by_call_ref ON recording (call_ref) WHERE call_ref IS NOT NULL;
CREATE INDEX recording_by_stamp ON recording (stamp_us) WHERE stamp_us IS NOT NULL;
CREATE INDEX recording_by_number ON recording (number) WHERE number IS NOT NULL;
CREATE INDEX recording_by_lone_end ON recording (end_us) WHERE coalesce(start_source, 'file') = 'file';
CREATE INDEX recording_by_name ON recording (name);
CREATE INDEX recording_open ON recording (registered_us) WHERE paired = 0;

CREATE TABLE conversation (
  id               INTEGER PRIMARY KEY REFERENCES item (id),
  name             TEXT NOT NULL,
  document         TEXT NOT NULL,            -- the whole object as it was read
  session_id       TEXT,
  start_us         INTEGER,
  start_source     TEXT,
  end_us           INTEGER,
  end_source       TEXT,
  session_us       INTEGER,
  field_start_us   INTEGER,
  field_end_us     INTEGER,
  saved_us         INTEGER,
  number           TEXT,
  call_ref         TEXT,
  room             TEXT,
  lead_expected    INTEGER CHECK (lead_expected IN (0, 1)),
  turns            TEXT NOT NULL DEFAULT '[]',  -- [[role, microseconds or null], …]
  flags            TEXT NOT NULL DEFAULT '[]',
  registered_us    INTEGER NOT NULL,
  CHECK ((start_us IS NULL) = (start_source IS NULL)),
  CHECK ((end_us IS NULL) = (end_source IS NULL))
) STRICT;
CREATE INDEX conversation_by_start ON conversation (start_us);
CREATE INDEX conversation_by_end ON conversation (end_us);
CREATE INDEX conversation_by_session ON conversation (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX conversation_by_call_ref ON conversation (call_ref) WHERE call_ref IS NOT NULL;
CREATE INDEX conversation_by_saved ON conversation (saved_us) WHERE saved_us IS NOT NULL;
CREATE INDEX conversation_by_session_time ON conversation (session_us) WHERE session_us IS NOT NULL;
CREATE INDEX conversation_by_room ON conversation (room) WHERE room IS NOT NULL;
CREATE INDEX conversation_by_number ON conversation (number) WHERE number IS NOT NULL;
CREATE INDEX conversation_by_lone_end ON conversation (end_us) WHERE coalesce(start_source, 'name') = 'name';
CREATE INDEX conversation_by_lone_saved ON conversation (saved_us) WHERE coalesce(start_source, 'name') = 'name';
CREATE INDEX conversation_by_name ON conversation (name);

CREATE TABLE lead (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  name           TEXT NOT NULL,
  document       TEXT NOT NULL,
  stamp_us       INTEGER,
  taken_us       INTEGER,
  session_id     TEXT,
  number         TEXT,
  registered_us  INTEGER NOT NULL,
  paired         INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1))   -- kept by the triggers on lead_pairing
) STRICT;
CREATE INDEX lead_by_stamp ON lead (stamp_us) WHERE stamp_us IS NOT NULL;
CREATE INDEX lead_by_taken ON lead (taken_us) WHERE taken_us IS NOT NULL;
CREATE INDEX lead_by_session ON lead (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX lead_by_number ON lead (number) WHERE number IS NOT NULL;
CREATE INDEX lead_by_name ON lead (name);
CREATE INDEX lead_open ON lead (registered_us) WHERE paired = 0;

-- Files that wait for the rooms that will read them: chunks of a browser session, and a recording's side document.
CREATE TABLE chunk (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  session        TEXT NOT NULL,
  chunk_index    INTEGER NOT NULL CHECK (chunk_index >= 0),
  registered_us  INTEGER NOT NULL
) STRICT;
CREATE INDEX chunk_by_session ON chunk (session, chunk_index);
CREATE TABLE sidecar (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  stem           TEXT NOT NULL,               -- path without .json, as its recording's path without suffix
  document       TEXT NOT NULL,
  registered_us  INTEGER NOT NULL
) STRICT;
CREATE INDEX sidecar_by_stem ON sidecar (stem);

-- What the matcher thinks of each conversation now, and why.
CREATE TABLE verdict (
  conversation_id    INTEGER PRIMARY KEY REFERENCES conversation (id),
  recording          TEXT NOT NULL CHECK (recording IN ('waiting', 'matched', 'ambiguous', 'alone')),
  recording_until_us INTEGER NOT NULL,         -- when waiting ends
  lead               TEXT NOT NULL CHECK (lead IN ('waiting', 'matched', 'ambiguous', 'none')),
  lead_until_us      INTEGER NOT NULL,
  ready              INTEGER NOT NULL CHECK (ready IN (0, 1)),   -- may it be delivered as it stands?
  explanation        TEXT NOT NULL,            -- JSON: candidates with their terms
  decided_us         INTEGER NOT NULL
) STRICT;
CREATE INDEX verdict_states ON verdict (recording, lead, ready);
CREATE INDEX verdict_open ON verdict (ready) WHERE recording IN ('waiting', 'ambiguous') OR lead IN ('waiting', 'ambiguous');

-- Who belongs together. One to one, held by the ledger itself.
CREATE TABLE pairing (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  group_key        TEXT NOT NULL UNIQUE,
  probability      REAL NOT NULL CHECK (probability BETWEEN 0 AND 1),
  reasons          TEXT NOT NULL,
  decided_by       TEXT NOT NULL CHECK (decided_by IN ('evidence', 'person')),
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL
) STRICT;
CREATE TABLE lead_pairing (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  lead_id          INTEGER NOT NULL UNIQUE REFERENCES lead (id),
  probability      REAL NOT NULL CHECK (probability BETWEEN 0 AND 1),
  reasons          TEXT NOT NULL,
  decided_by       TEXT NOT NULL CHECK (decided_by IN ('evidence', 'person')),
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL
) STRICT;
-- So that what is still open is found by index, however many are paired.
CREATE TRIGGER pairing_made AFTER INSERT ON pairing BEGIN
  UPDATE recording SET paired = 1 WHERE group_key = new.group_key;
END;
CREATE TRIGGER pairing_undone AFTER DELETE ON pairing BEGIN
  UPDATE recording SET paired = 0 WHERE group_key = old.group_key;
END;
CREATE TRIGGER lead_pairing_made AFTER INSERT ON lead_pairing BEGIN
  UPDATE lead SET paired = 1 WHERE id = new.lead_id;
END;
CREATE TRIGGER lead_pairing_undone AFTER DELETE ON lead_pairing BEGIN
  UPDATE lead SET paired = 0 WHERE id = old.lead_id;
END;

-- Pairs a person said no to.
CREATE TABLE refusal (
  conversation_id  INTEGER NOT NULL REFERENCES conversation (id),
  partner          TEXT NOT NULL,              -- a group_key, or 'l<id>' for a lead
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL,
  PRIMARY KEY (conversation_id, partner)
) STRICT, WITHOUT ROWID;

-- The call as the CRM knows it. call_id is fixed at the first intent to send and never changes.
CREATE TABLE call (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  call_id          TEXT UNIQUE,
  fixed_us         INTEGER,
  delivered_us     INTEGER,
  delivered        TEXT,                       -- JSON: what was in the call the CRM accepted last
  recording_url    TEXT,
  spoken_for       TEXT NOT NULL DEFAULT 'callspool' CHECK (spoken_for IN ('callspool', 'marker', 'person')),
  CHECK ((call_id IS NULL) = (fixed_us IS NULL))
) STRICT;
CREATE INDEX call_by_delivery ON call (spoken_for, delivered_us);

-- Markers found at the first start: what the system before us says it did.
CREATE TABLE old_marker (
  transcript     TEXT PRIMARY KEY,             -- transcript file name
  delivered      INTEGER NOT NULL CHECK (delivered IN (0, 1)),
  recording_url  TEXT,
  document       TEXT NOT NULL
) STRICT;
