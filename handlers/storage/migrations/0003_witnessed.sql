-- Recordings of which a sidecar says, when a lost ledger is made anew, that storage has them.
CREATE TABLE witnessed (
  sha256  TEXT PRIMARY KEY CHECK (length(sha256) = 64)
) STRICT, WITHOUT ROWID;
