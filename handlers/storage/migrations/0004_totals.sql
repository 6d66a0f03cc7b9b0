-- Copies by state and place, those that wait to move, and calls of which everything is stored (their sidecar, written
-- last, is verified): kept by triggers, as all running totals are.

INSERT INTO running_total (what, part, n, size)
  SELECT 'copy ' || state.value, place.value, (
      SELECT count(*) FROM copy WHERE copy.place = place.value AND copy.state = state.value), (
      SELECT coalesce(sum(size), 0) FROM copy WHERE copy.place = place.value AND copy.state = state.value)
  FROM json_each('["intended", "verified", "conflict", "refused", "removed"]') AS state,
    json_each('["local", "s3"]') AS place;
INSERT INTO running_total (what, part, n, size)
  SELECT 'copy bound', '', count(*), coalesce(sum(size), 0) FROM copy WHERE bound_for IS NOT NULL;
INSERT INTO running_total (what, part, n)
  SELECT 'call stored', '', count(DISTINCT subject_id) FROM copy WHERE role = 'sidecar' AND state = 'verified';

CREATE TRIGGER copy_counted AFTER INSERT ON copy BEGIN
  UPDATE running_total SET n = n + 1, size = size + new.size WHERE what = 'copy ' || new.state AND part = new.place;
  UPDATE running_total SET n = n + 1, size = size + new.size
    WHERE what = 'copy bound' AND part = '' AND new.bound_for IS NOT NULL;
END;
CREATE TRIGGER copy_uncounted AFTER DELETE ON copy BEGIN
  UPDATE running_total SET n = n - 1, size = size - old.size WHERE what = 'copy ' || old.state AND part = old.place;
  UPDATE running_total SET n = n - 1, size = size - old.size
    WHERE what = 'copy bound' AND part = '' AND old.bound_for IS NOT NULL;
END;
CREATE TRIGGER copy_counted_anew AFTER UPDATE OF place, state, size, bound_for ON copy BEGIN
  UPDATE running_total SET n = n - 1, size = size - old.size WHERE what = 'copy ' || old.state AND part = old.place;
  UPDATE running_total SET n = n - 1, size = size - old.size
    WHERE what = 'copy bound' AND part = '' AND old.bound_for IS NOT NULL;
  UPDATE running_total SET n = n + 1, size = size + new.size WHERE what = 'copy ' || new.state AND part = new.place;
  UPDATE running_total SET n = n + 1, size = size + new.size
    WHERE what = 'copy bound' AND part = '' AND new.bound_for IS NOT NULL;
END;

-- A call's sidecar may lie in more than one place: the call is counted with the first, and no more with the last.
CREATE TRIGGER stored_counted AFTER INSERT ON copy WHEN new.role = 'sidecar' AND new.state = 'verified' BEGIN
  UPDATE running_total SET n = n + 1 WHERE what = 'call stored' AND part = '' AND NOT EXISTS (
    SELECT 1 FROM copy WHERE subject_id = new.subject_id AND role = 'sidecar' AND state = 'verified'
    AND (place, bucket, key) != (new.place, new.bucket, new.key));
END;
CREATE TRIGGER stored_uncounted AFTER DELETE ON copy WHEN old.role = 'sidecar' AND old.state = 'verified' BEGIN
  UPDATE running_total SET n = n - 1 WHERE what = 'call stored' AND part = '' AND NOT EXISTS (
    SELECT 1 FROM copy WHERE subject_id = old.subject_id AND role = 'sidecar' AND state = 'verified');
END;
CREATE TRIGGER stored_counted_anew AFTER UPDATE OF state, role, subject_id ON copy
WHEN (old.role = 'sidecar' AND old.state = 'verified', old.subject_id)
  IS NOT (new.role = 'sidecar' AND new.state = 'verified', new.subject_id) BEGIN
  UPDATE running_total SET n = n - 1 WHERE what = 'call stored' AND part = ''
    AND old.role = 'sidecar' AND old.state = 'verified' AND NOT EXISTS (
      SELECT 1 FROM copy WHERE subject_id = old.subject_id AND role = 'sidecar' AND state = 'verified');
  UPDATE running_total SET n = n + 1 WHERE what = 'call stored' AND part = ''
    AND new.role = 'sidecar' AND new.state = 'verified' AND NOT EXISTS (
      SELECT 1 FROM copy WHERE subject_id = new.subject_id AND role = 'sidecar' AND state = 'verified'
      AND (place, bucket, key) != (new.place, new.bucket, new.key));
END;

CREATE INDEX copy_troubled ON copy (intended_us, key)
  WHERE (bound_for IS NOT NULL AND reason != '') OR state IN ('conflict', 'refused');
