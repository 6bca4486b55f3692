-- Version 10. Frozen: a change is a new file.

-- Blobs: bytes by their hash, in files of the state folder. `touched` is the store's own time at which one was put last, or lost
-- a reference.
CREATE TABLE blobs (
  hash    BLOB PRIMARY KEY,
  size    INTEGER NOT NULL,
  touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who has put a blob: as `owner` of `service_data`. It may get it, and is charged for it.
CREATE TABLE blob_holders (
  hash  BLOB NOT NULL,
  owner INTEGER NOT NULL,
  PRIMARY KEY (hash, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_holders_by_owner ON blob_holders (owner);

-- Rows of services that refer to blobs (`item` is -1), and items of their logs (`item` is the index).
CREATE TABLE blob_refs (
  space TEXT NOT NULL,
  key   TEXT NOT NULL,
  item  INTEGER NOT NULL,
  hash  BLOB NOT NULL,
  PRIMARY KEY (space, key, item, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_refs_by_hash ON blob_refs (hash, space, key);
