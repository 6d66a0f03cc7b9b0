-- What counts, summed by the quarter of an hour in which calls began and were registered, kept by triggers out of the
-- rows it is made of: a million conversations of a year are thirty-five thousand sums. Every zone's days begin with a
-- quarter of an hour. Only whole numbers are added, so that a sum never depends on its order.

ALTER TABLE collected ADD COLUMN agent_size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collected ADD COLUMN customer_size INTEGER NOT NULL DEFAULT 0;
DROP INDEX collected_totals;

DROP TRIGGER collected_anew;
CREATE TRIGGER collected_anew AFTER INSERT ON collect_touched BEGIN
  DELETE FROM collected WHERE group_key = new.group_key;
  INSERT INTO collected (group_key, at_us, registered_us, whole, excluded, delivered, size, received_ms, usable_ms,
    unique_ms, agent_size, customer_size)
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
             THEN 0 ELSE cast(round(r.media_s * 1000) AS INTEGER) END),
    sum(CASE WHEN r.side = 'agent' THEN r.size ELSE 0 END),
    sum(CASE WHEN r.side = 'customer' THEN r.size ELSE 0 END)
  FROM recording AS r
  WHERE r.group_key = new.group_key AND NOT EXISTS (
    SELECT 1 FROM item AS newer JOIN recording AS later ON later.id = newer.id WHERE newer.replaces = r.id)
  GROUP BY r.group_key;
  DELETE FROM collect_touched WHERE group_key = new.group_key;
END;

-- The kinds as which each conversation counts.
CREATE VIEW collected_share AS
  SELECT 'received' AS kind, group_key, at_us, registered_us, whole, excluded, received_ms AS ms, size, agent_size,
    customer_size FROM collected WHERE received_ms > 0
  UNION ALL SELECT 'usable', group_key, at_us, registered_us, whole, excluded, usable_ms, size, agent_size,
    customer_size FROM collected WHERE usable_ms > 0
  UNION ALL SELECT 'unique', group_key, at_us, registered_us, whole, excluded, unique_ms, size, agent_size,
    customer_size FROM collected WHERE unique_ms > 0
  UNION ALL SELECT 'delivered', group_key, at_us, registered_us, whole, excluded, received_ms, size, agent_size,
    customer_size FROM collected WHERE delivered = 1;

CREATE TABLE collected_quarter (
  kind           TEXT NOT NULL CHECK (kind IN ('received', 'usable', 'unique', 'delivered')),
  registered     INTEGER NOT NULL,            -- quarters of an hour since the epoch
  at             INTEGER NOT NULL,
  n              INTEGER NOT NULL DEFAULT 0,
  ms             INTEGER NOT NULL DEFAULT 0,
  size           INTEGER NOT NULL DEFAULT 0,
  agent_size     INTEGER NOT NULL DEFAULT 0,
  customer_size  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, registered, at)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER collected_added AFTER INSERT ON collected WHEN NOT new.excluded BEGIN
  INSERT INTO collected_quarter (kind, registered, at)
    SELECT kind, new.registered_us / 900000000, new.at_us / 900000000 FROM collected_share AS s
    WHERE group_key = new.group_key AND NOT EXISTS (SELECT 1 FROM collected_quarter AS known
      WHERE known.kind = s.kind AND registered = new.registered_us / 900000000 AND at = new.at_us / 900000000);
  UPDATE collected_quarter SET n = n + 1, ms = ms + s.added_ms, size = size + new.size,
    agent_size = agent_size + new.agent_size, customer_size = customer_size + new.customer_size
  FROM (SELECT kind AS share, ms AS added_ms FROM collected_share WHERE group_key = new.group_key) AS s
  WHERE kind = s.share AND registered = new.registered_us / 900000000 AND at = new.at_us / 900000000;
END;
CREATE TRIGGER collected_taken_away BEFORE DELETE ON collected WHEN NOT old.excluded BEGIN
  UPDATE collected_quarter SET n = n - 1, ms = ms - s.added_ms, size = size - old.size,
    agent_size = agent_size - old.agent_size, customer_size = customer_size - old.customer_size
  FROM (SELECT kind AS share, ms AS added_ms FROM collected_share WHERE group_key = old.group_key) AS s
  WHERE kind = s.share AND registered = old.registered_us / 900000000 AND at = old.at_us / 900000000;
END;

CREATE INDEX collected_by_at ON collected (at_us, group_key);
CREATE INDEX collected_by_registered ON collected (registered_us);
CREATE INDEX collected_in_part ON collected (registered_us) WHERE whole = 0;

INSERT INTO collect_touched SELECT DISTINCT group_key FROM recording;
