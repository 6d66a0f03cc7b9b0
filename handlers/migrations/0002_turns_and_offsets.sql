-- What the matcher weighs beyond times and ids: where there is speech in a recording, which recorder made it, and what
-- this installation's confident matches taught about the offsets between its producers' clocks.

ALTER TABLE recording ADD COLUMN speech TEXT;                        -- [[first_s, last_s], …]; NULL: nobody looked, or nothing to tell
ALTER TABLE recording ADD COLUMN heard_s REAL NOT NULL DEFAULT 0;   -- up to where it was listened to
ALTER TABLE recording ADD COLUMN recorder TEXT NOT NULL DEFAULT ''; -- the pattern of its path: what one recorder's files share
CREATE INDEX lead_by_moment ON lead (coalesce(taken_us, stamp_us));

-- What confident matches teach: distances between the clocks of a recorder and of conversations, in milliseconds. nth
-- counts the lessons of one recorder; the newest few hundred are looked at. A pairing that is undone takes its lesson along.
CREATE TABLE lesson (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  recorder         TEXT NOT NULL,
  nth              INTEGER NOT NULL,
  by_mtime         INTEGER NOT NULL CHECK (by_mtime IN (0, 1)),
  start_anchor     TEXT CHECK (start_anchor IN ('field', 'session', 'item', 'name')),
  end_anchor       TEXT CHECK (end_anchor IN ('field', 'session', 'item', 'name')),
  start_ms         INTEGER,
  end_ms           INTEGER,
  length_ms        INTEGER,
  skew_ms          INTEGER,
  span_ms          INTEGER NOT NULL,
  UNIQUE (recorder, nth)
) STRICT;
CREATE TRIGGER lesson_unlearned AFTER DELETE ON pairing BEGIN
  DELETE FROM lesson WHERE conversation_id = old.conversation_id;
END;

-- A constant distance between recordings and conversations that looks like a wrong clock or time zone: at most one row.
CREATE TABLE suspected_shift (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  shift_ms    INTEGER NOT NULL,
  calls       INTEGER NOT NULL,
  noticed_us  INTEGER NOT NULL
) STRICT;

-- When a person last decided about a call's partners: what follows is sent without asking again.
CREATE TABLE person_spoke (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  at_us            INTEGER NOT NULL
) STRICT;

-- Matches that were sent and that later evidence speaks against.
ALTER TABLE verdict ADD COLUMN disputed INTEGER NOT NULL DEFAULT 0 CHECK (disputed IN (0, 1));
CREATE INDEX verdict_disputed ON verdict (conversation_id) WHERE disputed = 1;
CREATE INDEX recording_by_guessed_start ON recording (start_us) WHERE coalesce(start_source, 'file') = 'file';
