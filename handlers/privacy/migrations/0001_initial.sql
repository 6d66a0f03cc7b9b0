-- What must be kept whatever retention or a request to erase says. A hold covers the whole call of its subject.
CREATE TABLE hold (
  item_id  INTEGER PRIMARY KEY REFERENCES item (id),
  why      TEXT NOT NULL DEFAULT '',
  at_us    INTEGER NOT NULL
) STRICT;
