-- What the matcher weighs beyond times and ids: where there is speech in a recording, which recorder made it, and what
-- this installation's confident matches taught about the offsets between its producers' clocks.

ALTER TABLE recording ADD COLUMN speech TEXT;                        -- [[first_s, last_s], …]; NULL: nobody looked, or nothing to tell
ALTER TABLE recording ADD COLUMN heard_s REAL NOT NULL DEFAULT 0;   -- up to where it was listened to
ALTER TABLE recording ADD COLUMN recorder TEXT NOT NULL DEFAULT ''; -- the pattern of its path: what one recorder's files share
CREATE INDEX recording_by_span ON recording (start_us, end_us);
