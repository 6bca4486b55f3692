-- Version 9. Frozen: a change is a new file.

-- Logs of services: `space` is the name of a log of theirs, `key` one of the logs in it. Items from index `first` on, and before
-- `next`, are kept; `bytes` is the size of their values. `owner` is who added the first item, as in `service_data`.
CREATE TABLE logs (
  n     INTEGER PRIMARY KEY,
  space TEXT NOT NULL,
  key   TEXT NOT NULL,
  first INTEGER NOT NULL,
  next  INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  UNIQUE (space, key)
) STRICT;
CREATE TABLE log_items (
  log      INTEGER NOT NULL,
  position INTEGER NOT NULL,
  value    BLOB NOT NULL,
  PRIMARY KEY (log, position)
) STRICT, WITHOUT ROWID;

-- The index at which a new log of a name begins: above those of all logs that were removed.
CREATE TABLE log_floors (
  space TEXT PRIMARY KEY,
  next  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
