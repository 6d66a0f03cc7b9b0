-- The machine's tables. Times are microseconds since the epoch (UTC) in columns ending in _us; *_ns columns are what the
-- kernel says of a file, in nanoseconds. host_id stands on every row that could one day meet another host's.

CREATE TABLE meta (
  key    TEXT PRIMARY KEY,
  value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE root (
  id             INTEGER PRIMARY KEY,
  host_id        TEXT NOT NULL,
  role           TEXT NOT NULL,
  path           BLOB NOT NULL,
  registered_ns  INTEGER NOT NULL,
  adopted_ns     INTEGER NOT NULL DEFAULT 0,
  state          TEXT NOT NULL DEFAULT 'waiting_for_root'
                 CHECK (state IN ('waiting_for_root', 'watching', 'polling', 'degraded')),
  reason         TEXT NOT NULL DEFAULT '',
  changed_us     INTEGER NOT NULL,
  UNIQUE (role, path)
) STRICT;

CREATE TABLE folder (
  id       INTEGER PRIMARY KEY,
  root_id  INTEGER NOT NULL REFERENCES root (id),
  path     BLOB NOT NULL,
  UNIQUE (root_id, path)
) STRICT;

-- One content in one role, with what its file's name says.
CREATE TABLE item (
  id             INTEGER PRIMARY KEY,
  host_id        TEXT NOT NULL,
  role           TEXT NOT NULL,
  kind           TEXT NOT NULL,
  sha256         TEXT NOT NULL CHECK (length(sha256) = 64),
  size           INTEGER NOT NULL CHECK (size > 0),
  evidence       TEXT NOT NULL,
  name           TEXT NOT NULL,
  path           TEXT NOT NULL,
  mtime_ns       INTEGER NOT NULL,
  first_seen_us  INTEGER NOT NULL,
  flags          TEXT NOT NULL DEFAULT '[]',
  replaces       INTEGER REFERENCES item (id),   -- the content this name held before
  UNIQUE (role, sha256, evidence)
) STRICT;
CREATE INDEX item_by_path ON item (path);
CREATE INDEX item_by_name ON item (name);
CREATE INDEX item_by_replaced ON item (replaces) WHERE replaces IS NOT NULL;

-- What lies there now. Clustered by folder, so that a scan reads one folder's rows in one go.
CREATE TABLE file (
  folder_id      INTEGER NOT NULL REFERENCES folder (id),
  name           BLOB NOT NULL,
  size           INTEGER NOT NULL,
  mtime_ns       INTEGER NOT NULL,
  ctime_ns       INTEGER NOT NULL,
  ino            INTEGER NOT NULL,
  state          TEXT NOT NULL
                 CHECK (state IN ('settling', 'known', 'empty', 'unreadable', 'irregular', 'old', 'attention')),
  item_id        INTEGER REFERENCES item (id),
  reason         TEXT NOT NULL DEFAULT '',
  flags          TEXT NOT NULL DEFAULT '[]',
  first_seen_us  INTEGER NOT NULL,
  changed_us     INTEGER NOT NULL,
  PRIMARY KEY (folder_id, name),
  CHECK (state != 'known' OR item_id IS NOT NULL)   -- a changed file keeps its old item until it has settled again
) STRICT, WITHOUT ROWID;
CREATE INDEX file_by_item ON file (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX file_not_known ON file (state) WHERE state != 'known';
CREATE INDEX file_old ON file (ino) WHERE state = 'old';

-- What lay there once: older versions of a name, and names that disappeared.
CREATE TABLE former_file (
  id             INTEGER PRIMARY KEY,
  folder_id      INTEGER NOT NULL REFERENCES folder (id),
  name           BLOB NOT NULL,
  size           INTEGER NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('replaced', 'gone')),
  item_id        INTEGER REFERENCES item (id),
  reason         TEXT NOT NULL DEFAULT '',
  first_seen_us  INTEGER NOT NULL,
  changed_us     INTEGER NOT NULL,
  old_ino        INTEGER,                    -- of a file that was old: it is known by these under another name
  old_mtime_ns   INTEGER
) STRICT;
CREATE INDEX former_file_old ON former_file (old_ino) WHERE old_ino IS NOT NULL;
CREATE INDEX former_file_by_name ON former_file (folder_id, name);
CREATE INDEX former_file_by_item ON former_file (item_id) WHERE item_id IS NOT NULL;

CREATE TABLE job (
  id          INTEGER PRIMARY KEY,
  host_id     TEXT NOT NULL,
  lane        TEXT NOT NULL,
  kind        TEXT NOT NULL,
  key         TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('ready', 'running', 'waiting', 'done', 'parked')),
  due_us      INTEGER NOT NULL,
  waits_for   TEXT,                       -- the destination whose return wakes it
  lacks       INTEGER REFERENCES item (id),  -- the content whose return wakes it
  attempt     INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  told        INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),
  again       INTEGER NOT NULL DEFAULT 0 CHECK (again IN (0, 1)),  -- woken while it ran
  reason      TEXT NOT NULL DEFAULT '',
  fix         TEXT NOT NULL DEFAULT '',
  then_jobs   TEXT NOT NULL DEFAULT '[]',
  created_us  INTEGER NOT NULL,
  changed_us  INTEGER NOT NULL,
  UNIQUE (kind, key),
  CHECK (waits_for IS NULL OR state = 'waiting')
) STRICT;
CREATE INDEX job_ready ON job (lane, id) WHERE state = 'ready';
CREATE INDEX job_waiting ON job (lane, due_us) WHERE state = 'waiting';
CREATE INDEX job_waits_for ON job (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX job_lacks ON job (lacks) WHERE lacks IS NOT NULL;
CREATE INDEX job_parked ON job (kind) WHERE state = 'parked';
CREATE INDEX job_running ON job (lane) WHERE state = 'running';

CREATE TABLE effect (
  key          TEXT PRIMARY KEY,
  host_id      TEXT NOT NULL,
  type         TEXT NOT NULL,
  identity     TEXT NOT NULL,
  dest         TEXT NOT NULL,
  payload      TEXT NOT NULL,
  state        TEXT NOT NULL
               CHECK (state IN ('pending', 'in_flight', 'in_doubt', 'done', 'parked', 'superseded')),
  sends        INTEGER NOT NULL DEFAULT 0 CHECK (sends >= 0),
  failures     INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),   -- in a row, whatever the kind
  refusals     INTEGER NOT NULL DEFAULT 0 CHECK (refusals >= 0),
  reason       TEXT NOT NULL DEFAULT '',
  http_status  INTEGER,
  receipt      TEXT,
  created_us   INTEGER NOT NULL,
  changed_us   INTEGER NOT NULL,
  CHECK ((state = 'done') = (receipt IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX effect_by_identity ON effect (type, identity);
CREATE INDEX effect_open ON effect (state) WHERE state IN ('pending', 'in_flight', 'in_doubt', 'parked');

CREATE TABLE job_effect (
  job_id      INTEGER NOT NULL REFERENCES job (id),
  position    INTEGER NOT NULL CHECK (position >= 0),
  effect_key  TEXT NOT NULL REFERENCES effect (key),
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_effect_by_effect ON job_effect (effect_key);

CREATE TABLE destination (
  name          TEXT PRIMARY KEY,
  state         TEXT NOT NULL CHECK (state IN ('closed', 'open', 'resting', 'asked')),
  failures      INTEGER NOT NULL DEFAULT 0,        -- destination-level, in a row
  rests         INTEGER NOT NULL DEFAULT 0,        -- times in a row it was found still shut
  until_us      INTEGER NOT NULL DEFAULT 0,
  probe_us      INTEGER NOT NULL DEFAULT 0,        -- when a job was let through to probe it; 0: nobody is out
  reason        TEXT NOT NULL DEFAULT '',
  succeeded_us  INTEGER,
  changed_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a destination answered: masked and capped, and apart from the journal because it can be erased.
CREATE TABLE answer (
  id           INTEGER PRIMARY KEY,
  effect_key   TEXT NOT NULL,
  http_status  INTEGER,
  body         TEXT NOT NULL,
  at_us        INTEGER NOT NULL
) STRICT;
CREATE INDEX answer_by_effect ON answer (effect_key);

CREATE TABLE journal (
  id       INTEGER PRIMARY KEY,
  host_id  TEXT NOT NULL,
  at_us    INTEGER NOT NULL,
  event    TEXT NOT NULL,
  level    TEXT NOT NULL,
  call_id  TEXT,
  item_id  INTEGER,
  fields   TEXT NOT NULL
) STRICT;
CREATE INDEX journal_by_call ON journal (call_id, id) WHERE call_id IS NOT NULL;
CREATE INDEX journal_by_item ON journal (item_id, id) WHERE item_id IS NOT NULL;
CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal BEGIN
  SELECT RAISE(ABORT, 'the journal is append-only');
END;
CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal BEGIN
  SELECT RAISE(ABORT, 'the journal is append-only');
END;
