-- Version 2. Frozen: a change is a new file.

-- What services linked into the daemon keep: `space` is the name of a table of theirs.
CREATE TABLE service_data (
  space TEXT NOT NULL,
  key   TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
