-- Version 5. Frozen: a change is a new file.

-- Pairing offers. `key` is the pre-shared key derived from the token, `approve` whether the owner is asked, `device` the one
-- that paired with it. Tokens of earlier versions cannot be used any more.
DROP TABLE pairings;
CREATE TABLE offers (
  id          TEXT PRIMARY KEY,
  key         BLOB NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  lived_until INTEGER NOT NULL,
  approve     INTEGER NOT NULL,
  state       TEXT NOT NULL,
  device      BLOB
) STRICT, WITHOUT ROWID;

-- The device's own pre-shared key, and the one before its last pairing. NULL: paired before this version, to be paired
-- again.
ALTER TABLE devices ADD COLUMN psk BLOB;
ALTER TABLE devices ADD COLUMN psk_before BLOB;
