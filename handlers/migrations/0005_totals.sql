-- How many rows there are of each kind, kept by triggers: status and the page answer in the same time whatever the
-- ledger holds. Every part that there may be has its row from the beginning, so that a trigger but updates: an
-- INSERT OR REPLACE outside would override what an INSERT within says of conflicts.

CREATE TABLE running_total (
  what  TEXT NOT NULL,
  part  TEXT NOT NULL,
  n     INTEGER NOT NULL DEFAULT 0,
  size  INTEGER NOT NULL DEFAULT 0,           -- bytes, where rows have some
  PRIMARY KEY (what, part)
) STRICT, WITHOUT ROWID;

INSERT INTO running_total (what, part, n)
  SELECT 'verdict', state.value, (SELECT count(*) FROM verdict WHERE recording = state.value)
  FROM json_each('["waiting", "matched", "ambiguous", "alone"]') AS state;
INSERT INTO running_total (what, part, n)
  SELECT 'verdict', 'held', count(*) FROM verdict WHERE recording = 'ambiguous' OR lead = 'ambiguous';
CREATE TRIGGER verdict_counted AFTER INSERT ON verdict BEGIN
  UPDATE running_total SET n = n + 1 WHERE what = 'verdict' AND part = new.recording;
  UPDATE running_total SET n = n + 1 WHERE what = 'verdict' AND part = 'held'
    AND 'ambiguous' IN (new.recording, new.lead);
END;
CREATE TRIGGER verdict_uncounted AFTER DELETE ON verdict BEGIN
  UPDATE running_total SET n = n - 1 WHERE what = 'verdict' AND part = old.recording;
  UPDATE running_total SET n = n - 1 WHERE what = 'verdict' AND part = 'held'
    AND 'ambiguous' IN (old.recording, old.lead);
END;
CREATE TRIGGER verdict_counted_anew AFTER UPDATE OF recording, lead ON verdict BEGIN
  UPDATE running_total SET n = n - 1 WHERE what = 'verdict' AND part = old.recording;
  UPDATE running_total SET n = n - 1 WHERE what = 'verdict' AND part = 'held'
    AND 'ambiguous' IN (old.recording, old.lead);
  UPDATE running_total SET n = n + 1 WHERE what = 'verdict' AND part = new.recording;
  UPDATE running_total SET n = n + 1 WHERE what = 'verdict' AND part = 'held'
    AND 'ambiguous' IN (new.recording, new.lead);
END;

-- Calls by who spoke for them, and whether they were delivered.
INSERT INTO running_total (what, part, n)
  SELECT iif(sent.value, 'call delivered', 'call open'), who.value,
    (SELECT count(*) FROM call WHERE spoken_for = who.value AND (delivered_us IS NOT NULL) = sent.value)
  FROM json_each('["callspool", "marker", "person"]') AS who, json_each('[0, 1]') AS sent;
CREATE TRIGGER call_counted AFTER INSERT ON call BEGIN
  UPDATE running_total SET n = n + 1
    WHERE what = iif(new.delivered_us IS NULL, 'call open', 'call delivered') AND part = new.spoken_for;
END;
CREATE TRIGGER call_uncounted AFTER DELETE ON call BEGIN
  UPDATE running_total SET n = n - 1
    WHERE what = iif(old.delivered_us IS NULL, 'call open', 'call delivered') AND part = old.spoken_for;
END;
CREATE TRIGGER call_counted_anew AFTER UPDATE OF delivered_us, spoken_for ON call BEGIN
  UPDATE running_total SET n = n - 1
    WHERE what = iif(old.delivered_us IS NULL, 'call open', 'call delivered') AND part = old.spoken_for;
  UPDATE running_total SET n = n + 1
    WHERE what = iif(new.delivered_us IS NULL, 'call open', 'call delivered') AND part = new.spoken_for;
END;

-- Files with two channels, and what says whose they are: few, among very many.
CREATE INDEX recording_of_two ON recording (group_key) WHERE side = 'mixed' AND channels = 2;
CREATE INDEX sidecar_of_sides ON sidecar (id) WHERE instr(document, '"sides"') > 0;
