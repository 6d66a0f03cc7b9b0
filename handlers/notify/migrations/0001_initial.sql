-- What is wrong and may be told: a row as long as it lasts. told: somebody was told of it, and will be told of its end.

CREATE TABLE notice (
  key       TEXT PRIMARY KEY,
  line      TEXT NOT NULL,
  since_us  INTEGER NOT NULL,
  told      INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1))
) STRICT, WITHOUT ROWID;
