-- Version 6. Frozen: a change is a new file.

-- What a device may do (JSON, as on the wire), and when its pairing ends on the store's own clock. A device that paired
-- before this version keeps everything.
ALTER TABLE devices ADD COLUMN granted TEXT NOT NULL DEFAULT '{"role":"owner"}';
ALTER TABLE devices ADD COLUMN lived_until INTEGER;

-- What an offer grants, and for how many milliseconds from the pairing on.
ALTER TABLE offers ADD COLUMN granted TEXT NOT NULL DEFAULT '{"role":"owner"}';
ALTER TABLE offers ADD COLUMN device_ttl INTEGER;

-- The device that asked for a turn. NULL: the owner on the local socket, or a turn that outlives its device.
ALTER TABLE turns ADD COLUMN device BLOB;

-- Who did what. Rows are added, and the oldest are removed beyond a bound of each kind; none is changed.
CREATE TABLE audit (
  n       INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  event   TEXT NOT NULL,
  routine INTEGER NOT NULL,
  device  TEXT,
  detail  TEXT NOT NULL
) STRICT;
CREATE INDEX audit_routine ON audit (routine, n);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit BEGIN
  SELECT RAISE(ABORT, 'the audit log is append-only');
END;
