-- Version 4. Frozen: a change is a new file.

-- What the store knows of itself: `serverId` (whose it is), `lived`, `machine` and `machineTime` (the clock that outcomes,
-- offers and sessions age by).
CREATE TABLE facts (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every start of a daemon on this store: its stamp, and the id of the first event that it may make.
CREATE TABLE starts (
  n           INTEGER PRIMARY KEY AUTOINCREMENT,
  stamp       TEXT NOT NULL UNIQUE,
  first_event INTEGER NOT NULL
) STRICT;

-- From here on `intents.created_at`, `sessions.detached_at` and `pairings.lived_until` are milliseconds that the store has
-- lived, not of the wall clock. What there was begins its time anew; offers are made again.
UPDATE intents SET created_at = 0;
UPDATE sessions SET detached_at = NULL;
DELETE FROM pairings;
ALTER TABLE pairings ADD COLUMN lived_until INTEGER NOT NULL DEFAULT 0;
