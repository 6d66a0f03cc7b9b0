-- What counts as collected: one row for each conversation that was recorded, however many sides and files it has, kept
-- by triggers out of the rows it is made of. Lengths are whole milliseconds, so that a sum never depends on its order.

CREATE TABLE collected (
  group_key      TEXT PRIMARY KEY,
  at_us          INTEGER NOT NULL,            -- when the call began, else when it was registered
  registered_us  INTEGER NOT NULL,
  whole          INTEGER NOT NULL CHECK (whole IN (0, 1)),       -- no other side is to be expected
  excluded       INTEGER NOT NULL CHECK (excluded IN (0, 1)),    -- a person said that it does not count
  delivered      INTEGER NOT NULL CHECK (delivered IN (0, 1)),   -- the CRM or storage has its recording
  size           INTEGER NOT NULL,
  received_ms    INTEGER NOT NULL,            -- of the longer side
  usable_ms      INTEGER NOT NULL,            -- the same among sides that pass the gates; 0 where none does
  unique_ms      INTEGER NOT NULL             -- the same among those whose content is nobody else's before
) STRICT;
CREATE INDEX collected_totals ON collected
  (excluded, registered_us, whole, received_ms, usable_ms, unique_ms, delivered, size, at_us);

CREATE TABLE collect_excluded (
  group_key  TEXT PRIMARY KEY,
  why        TEXT NOT NULL,
  at_us      INTEGER NOT NULL
) STRICT;

-- Counting began anew at these moments; the latest holds.
CREATE TABLE collect_reset (
  at_us  INTEGER PRIMARY KEY,
  why    TEXT NOT NULL
) STRICT;

-- Targets that it was told of that they are reached.
CREATE TABLE collect_target (
  hours  REAL PRIMARY KEY,
  at_us  INTEGER NOT NULL
) STRICT;

-- Conversations of an older collection, taken in from its metadata. They count unless their files are here too.
CREATE TABLE collect_import (
  conversation_id  TEXT PRIMARY KEY,
  at_us            INTEGER NOT NULL,
  document         TEXT NOT NULL,
  size             INTEGER NOT NULL,
  ms               INTEGER NOT NULL,
  imported_us      INTEGER NOT NULL
) STRICT;
CREATE TABLE collect_import_file (
  conversation_id  TEXT NOT NULL REFERENCES collect_import (conversation_id) ON DELETE CASCADE,
  name             TEXT NOT NULL,
  PRIMARY KEY (conversation_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX collect_import_file_by_name ON collect_import_file (name);

-- Writing a group's key here has its row made anew; nothing ever stays in it.
CREATE TABLE collect_touched (group_key TEXT NOT NULL) STRICT;
CREATE TRIGGER collected_anew AFTER INSERT ON collect_touched BEGIN
  DELETE FROM collected WHERE group_key = new.group_key;
  INSERT INTO collected (group_key, at_us, registered_us, whole, excluded, delivered, size, received_ms, usable_ms, unique_ms)
  SELECT
    r.group_key,
    min(coalesce(r.start_us, r.registered_us)),
    min(r.registered_us),
    max(r.side = 'mixed') OR count(DISTINCT r.side) > 1,
    EXISTS (SELECT 1 FROM collect_excluded AS e WHERE e.group_key = r.group_key),
    EXISTS (
      SELECT 1 FROM pairing AS p JOIN call AS c ON c.conversation_id = p.conversation_id
      WHERE p.group_key = r.group_key AND c.delivered_us IS NOT NULL AND (
        c.spoken_for != 'callspool' OR EXISTS (
          SELECT 1 FROM delivered_recording AS sent JOIN recording AS mine ON mine.id = sent.recording_id
          WHERE sent.conversation_id = c.conversation_id AND mine.group_key = r.group_key)))
    OR EXISTS (
      SELECT 1 FROM recording AS mine JOIN copy AS kept ON kept.item_id = mine.id
      WHERE mine.group_key = r.group_key AND kept.role = 'audio' AND kept.state = 'verified'),
    sum(r.size),
    max(cast(round(r.media_s * 1000) AS INTEGER)),
    max(CASE WHEN r.audio_flags LIKE '%"silent"%' OR r.audio_flags LIKE '%"too_short"%' THEN 0
             ELSE cast(round(r.media_s * 1000) AS INTEGER) END),
    max(CASE WHEN r.audio_flags LIKE '%"silent"%' OR r.audio_flags LIKE '%"too_short"%' OR EXISTS (
               SELECT 1 FROM item AS mine JOIN item AS older ON older.role = mine.role AND older.sha256 = mine.sha256
               JOIN recording AS known ON known.id = older.id WHERE mine.id = r.id AND older.id < mine.id)
             THEN 0 ELSE cast(round(r.media_s * 1000) AS INTEGER) END)
  FROM recording AS r
  WHERE r.group_key = new.group_key AND NOT EXISTS (
    SELECT 1 FROM item AS newer JOIN recording AS later ON later.id = newer.id WHERE newer.replaces = r.id)
  GROUP BY r.group_key;
  DELETE FROM collect_touched WHERE group_key = new.group_key;
END;

CREATE TRIGGER collected_recording_known AFTER INSERT ON recording BEGIN
  INSERT INTO collect_touched
  SELECT new.group_key
  UNION SELECT r.group_key FROM item AS mine JOIN item AS same ON same.role = mine.role AND same.sha256 = mine.sha256
    JOIN recording AS r ON r.id = same.id WHERE mine.id = new.id
  UNION SELECT r.group_key FROM item AS mine JOIN recording AS r ON r.id = mine.replaces WHERE mine.id = new.id;
END;
CREATE TRIGGER collected_recording_changed
AFTER UPDATE OF group_key, side, size, media_s, audio_flags, start_us ON recording BEGIN
  INSERT INTO collect_touched SELECT old.group_key UNION SELECT new.group_key;
END;
CREATE TRIGGER collected_recording_gone AFTER DELETE ON recording BEGIN
  INSERT INTO collect_touched VALUES (old.group_key);
END;
CREATE TRIGGER collected_version AFTER UPDATE OF replaces ON item WHEN old.replaces IS NOT new.replaces BEGIN
  INSERT INTO collect_touched SELECT DISTINCT group_key FROM recording WHERE id IN (new.id, old.replaces, new.replaces);
END;
CREATE TRIGGER collected_paired AFTER INSERT ON pairing BEGIN
  INSERT INTO collect_touched VALUES (new.group_key);
END;
CREATE TRIGGER collected_unpaired AFTER DELETE ON pairing BEGIN
  INSERT INTO collect_touched VALUES (old.group_key);
END;
CREATE TRIGGER collected_call_known AFTER INSERT ON call WHEN new.delivered_us IS NOT NULL BEGIN
  INSERT INTO collect_touched SELECT group_key FROM pairing WHERE conversation_id = new.conversation_id;
END;
CREATE TRIGGER collected_call_delivered AFTER UPDATE OF delivered_us, delivered, spoken_for ON call BEGIN
  INSERT INTO collect_touched SELECT group_key FROM pairing WHERE conversation_id = new.conversation_id;
END;
CREATE TRIGGER collected_recording_delivered AFTER INSERT ON delivered_recording BEGIN
  INSERT INTO collect_touched SELECT group_key FROM recording WHERE id = new.recording_id;
END;
CREATE TRIGGER collected_recording_undelivered AFTER DELETE ON delivered_recording BEGIN
  INSERT INTO collect_touched SELECT group_key FROM recording WHERE id = old.recording_id;
END;
CREATE TRIGGER collected_copied AFTER INSERT ON copy WHEN new.role = 'audio' BEGIN
  INSERT INTO collect_touched SELECT group_key FROM recording WHERE id = new.item_id;
END;
CREATE TRIGGER collected_copy_changed AFTER UPDATE OF state, item_id ON copy WHEN new.role = 'audio' BEGIN
  INSERT INTO collect_touched SELECT group_key FROM recording WHERE id IN (old.item_id, new.item_id);
END;
CREATE TRIGGER collected_copy_forgotten AFTER DELETE ON copy WHEN old.role = 'audio' BEGIN
  INSERT INTO collect_touched SELECT group_key FROM recording WHERE id = old.item_id;
END;
CREATE TRIGGER collected_excluded AFTER INSERT ON collect_excluded BEGIN
  INSERT INTO collect_touched VALUES (new.group_key);
END;
CREATE TRIGGER collected_included AFTER DELETE ON collect_excluded BEGIN
  INSERT INTO collect_touched VALUES (old.group_key);
END;

INSERT INTO collect_touched SELECT DISTINCT group_key FROM recording;
