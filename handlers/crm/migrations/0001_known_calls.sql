-- What witnesses outside a lost ledger say: under which id the CRM knows the call of a transcript.
CREATE TABLE known_call (
  transcript  TEXT PRIMARY KEY CHECK (length(transcript) = 64),   -- SHA-256 of its content
  call_id     TEXT NOT NULL,
  delivered   INTEGER NOT NULL CHECK (delivered IN (0, 1))
) STRICT, WITHOUT ROWID;
