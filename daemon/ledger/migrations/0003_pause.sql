-- What a person, or a target that was reached, has paused. It survives restarts.
CREATE TABLE pause (
  what   TEXT PRIMARY KEY,   -- all, deliver, compress, collect
  why    TEXT NOT NULL,
  at_us  INTEGER NOT NULL
) STRICT;
