-- near changes whenever somebody's neighbours may have, rows whenever what was read of a recording or a conversation may
-- not hold any more: who found something out keeps it as long as its mark stands. Marks are drawn and not counted, so
-- that what was rolled back and came otherwise is told apart as well.
CREATE TABLE neighbours_mark (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  near  INTEGER NOT NULL,
  rows  INTEGER NOT NULL
) STRICT;
INSERT INTO neighbours_mark (id, near, rows) VALUES (1, random(), random());

CREATE TRIGGER recording_arrived AFTER INSERT ON recording BEGIN UPDATE neighbours_mark SET near = random(); END;
CREATE TRIGGER recording_left AFTER DELETE ON recording BEGIN
  UPDATE neighbours_mark SET near = random(), rows = random();
END;
CREATE TRIGGER recording_moved
  AFTER UPDATE OF group_key, side, name, span_s, audio_flags, flags, speech, heard_s, recorder, start_us, start_source,
    end_us, number, session_id, call_ref, stamp_us, registered_us ON recording
  BEGIN UPDATE neighbours_mark SET near = random(), rows = random(); END;
CREATE TRIGGER conversation_arrived AFTER INSERT ON conversation BEGIN
  UPDATE neighbours_mark SET near = random();
END;
CREATE TRIGGER conversation_left AFTER DELETE ON conversation BEGIN
  UPDATE neighbours_mark SET near = random(), rows = random();
END;
CREATE TRIGGER conversation_moved AFTER UPDATE ON conversation BEGIN
  UPDATE neighbours_mark SET near = random(), rows = random();
END;
CREATE TRIGGER lead_arrived AFTER INSERT ON lead BEGIN UPDATE neighbours_mark SET near = random(); END;
CREATE TRIGGER lead_left AFTER DELETE ON lead BEGIN UPDATE neighbours_mark SET near = random(); END;
CREATE TRIGGER lead_moved
  AFTER UPDATE OF name, stamp_us, taken_us, session_id, number, registered_us ON lead
  BEGIN UPDATE neighbours_mark SET near = random(); END;
-- Of two versions of one file the newer one speaks: which that is may change without any arrival.
CREATE TRIGGER version_moved AFTER UPDATE OF replaces ON item BEGIN UPDATE neighbours_mark SET near = random(); END;
