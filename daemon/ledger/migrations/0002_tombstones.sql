-- What was erased, so that a restored backup is not taken again: a keyed hash, from which nothing can be read.
CREATE TABLE tombstone (
  digest  TEXT PRIMARY KEY CHECK (length(digest) = 64),
  at_us   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
