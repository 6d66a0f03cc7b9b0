-- Whether recordings come. watched_us: since when that is looked at; last_us: the last recording before a silence that
-- was told of and has not ended, NULL while there is none.

CREATE TABLE collect_silence (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  watched_us  INTEGER NOT NULL,
  last_us     INTEGER
) STRICT;
