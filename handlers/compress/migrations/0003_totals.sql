-- What lies there and what compression saved, in bytes, kept by triggers: one row for each recording of which a file
-- lies there, and one for each copy that was made, summed as all running totals are.

CREATE TABLE lying (
  item_id  INTEGER PRIMARY KEY,               -- a recording of which a file lies there, as it was last looked at
  size     INTEGER NOT NULL
) STRICT;
CREATE TABLE saved (
  recording_id  INTEGER PRIMARY KEY,          -- of the compression
  size          INTEGER NOT NULL,             -- of the copy, unless a later one took its place
  savings       INTEGER NOT NULL              -- what the replaced original took more; may be less than nothing
) STRICT;

INSERT INTO running_total (what, part) VALUES ('lying', ''), ('compressed', 'size'), ('compressed', 'savings');
CREATE TRIGGER lying_counted AFTER INSERT ON lying BEGIN
  UPDATE running_total SET n = n + 1, size = size + new.size WHERE what = 'lying' AND part = '';
END;
CREATE TRIGGER lying_uncounted AFTER DELETE ON lying BEGIN
  UPDATE running_total SET n = n - 1, size = size - old.size WHERE what = 'lying' AND part = '';
END;
CREATE TRIGGER saved_counted AFTER INSERT ON saved BEGIN
  UPDATE running_total SET n = n + 1, size = size + new.size WHERE what = 'compressed' AND part = 'size';
  UPDATE running_total SET n = n + 1, size = size + new.savings WHERE what = 'compressed' AND part = 'savings';
END;
CREATE TRIGGER saved_uncounted AFTER DELETE ON saved BEGIN
  UPDATE running_total SET n = n - 1, size = size - old.size WHERE what = 'compressed' AND part = 'size';
  UPDATE running_total SET n = n - 1, size = size - old.savings WHERE what = 'compressed' AND part = 'savings';
END;

-- Writing a recording's id here has its rows made anew; nothing ever stays in it.
CREATE TABLE space_touched (id INTEGER NOT NULL) STRICT;
CREATE TRIGGER space_anew AFTER INSERT ON space_touched BEGIN
  DELETE FROM lying WHERE item_id = new.id;
  INSERT INTO lying SELECT r.id, r.size FROM recording AS r WHERE r.id = new.id AND EXISTS (
    SELECT 1 FROM file WHERE item_id = r.id AND state = 'known' AND NOT EXISTS (
      SELECT 1 FROM compression AS went
      WHERE went.recording_id = r.id AND went.state = 'replaced' AND went.replaced_us >= file.changed_us));
  DELETE FROM saved WHERE recording_id = new.id;
  INSERT INTO saved SELECT c.recording_id,
    iif(EXISTS (SELECT 1 FROM compression AS later WHERE later.recording_id = c.copy_id AND later.state = 'replaced'),
      0, c.size),
    iif(c.state = 'replaced' AND NOT EXISTS (
        SELECT 1 FROM compression AS earlier WHERE earlier.copy_id = c.recording_id AND earlier.state != 'replaced'),
      c.original_size - c.size, 0)
  FROM compression AS c WHERE c.recording_id = new.id AND c.state IN ('verified', 'replaced');
  DELETE FROM space_touched WHERE id = new.id;
END;

CREATE TRIGGER space_recording_known AFTER INSERT ON recording BEGIN
  INSERT INTO space_touched VALUES (new.id);
END;
CREATE TRIGGER space_recording_changed AFTER UPDATE OF size ON recording BEGIN
  INSERT INTO space_touched VALUES (new.id);
END;
CREATE TRIGGER space_recording_gone AFTER DELETE ON recording BEGIN
  INSERT INTO space_touched VALUES (old.id);
END;
CREATE TRIGGER space_file_known AFTER INSERT ON file WHEN new.item_id NOTNULL BEGIN
  INSERT INTO space_touched VALUES (new.item_id);
END;
CREATE TRIGGER space_file_changed AFTER UPDATE OF item_id, state, changed_us ON file
WHEN old.item_id NOTNULL OR new.item_id NOTNULL BEGIN
  INSERT INTO space_touched SELECT old.item_id WHERE old.item_id NOTNULL UNION SELECT new.item_id WHERE new.item_id NOTNULL;
END;
CREATE TRIGGER space_file_gone AFTER DELETE ON file WHEN old.item_id NOTNULL BEGIN
  INSERT INTO space_touched VALUES (old.item_id);
END;
-- A compression changes what is said of its own recording, of the one its copy was made anew for, and of the one whose
-- copy it is.
CREATE TRIGGER space_compressed AFTER INSERT ON compression BEGIN
  INSERT INTO space_touched SELECT new.recording_id
    UNION SELECT new.copy_id WHERE new.copy_id NOTNULL
    UNION SELECT recording_id FROM compression WHERE copy_id = new.recording_id;
END;
CREATE TRIGGER space_compression_changed
AFTER UPDATE OF state, size, original_size, copy_id, replaced_us ON compression BEGIN
  INSERT INTO space_touched SELECT new.recording_id
    UNION SELECT new.copy_id WHERE new.copy_id NOTNULL
    UNION SELECT old.copy_id WHERE old.copy_id NOTNULL
    UNION SELECT recording_id FROM compression WHERE copy_id = new.recording_id;
END;
CREATE TRIGGER space_compression_gone AFTER DELETE ON compression BEGIN
  INSERT INTO space_touched SELECT old.recording_id
    UNION SELECT old.copy_id WHERE old.copy_id NOTNULL
    UNION SELECT recording_id FROM compression WHERE copy_id = old.recording_id;
END;

INSERT INTO space_touched SELECT id FROM recording UNION SELECT recording_id FROM compression;
