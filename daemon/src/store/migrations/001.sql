-- Version 1. Frozen: a change is a new file.

-- Paired app installs. `key` is the X25519 public key, `id` the name derived from it.
CREATE TABLE devices (
  key          BLOB PRIMARY KEY,
  id           TEXT NOT NULL UNIQUE,
  name         TEXT NOT NULL,
  platform     TEXT NOT NULL,
  paired_at    INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  revoked      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Pairing tokens not used yet, by their SHA-256.
CREATE TABLE pairings (
  digest     BLOB PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `key` is `session:csk_…` (INV-1). `detached_at` is null while a connection holds the session.
CREATE TABLE sessions (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  key          TEXT NOT NULL UNIQUE,
  device       BLOB NOT NULL,
  epoch        TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  detached_at  INTEGER
) STRICT;

CREATE TABLE subscriptions (
  session INTEGER NOT NULL,
  agent   TEXT NOT NULL,
  PRIMARY KEY (session, agent)
) STRICT, WITHOUT ROWID;

-- The bodies of events, shared by the replay logs of all sessions.
CREATE TABLE events (
  id   INTEGER PRIMARY KEY,
  body TEXT NOT NULL
) STRICT;

-- The replay logs. The newest row of a session stays even when its event is gone: it tells the
-- number of the next one.
CREATE TABLE replay (
  session INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  event   INTEGER NOT NULL,
  PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

-- Outcomes of intents (BX-1). `name` is the first half of SHA-256(session key) + the intent's UUID,
-- `digest` the SHA-256 of method and parameters, `outcome` the JSON of the result or of the error.
CREATE TABLE intents (
  name       BLOB PRIMARY KEY,
  digest     BLOB NOT NULL,
  ok         INTEGER NOT NULL,
  outcome    TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX intents_by_age ON intents (created_at);

CREATE TABLE agents (
  n          INTEGER PRIMARY KEY AUTOINCREMENT,
  id         TEXT NOT NULL UNIQUE,
  title      TEXT NOT NULL,
  provider   TEXT NOT NULL,
  cwd        TEXT NOT NULL,
  status     TEXT NOT NULL,
  attention  TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  next_index INTEGER NOT NULL
) STRICT;

-- Timelines. `position` is agents.n * 2^32 + index, so that a timeline is one run of the table.
CREATE TABLE items (
  position  INTEGER PRIMARY KEY,
  id        TEXT NOT NULL,
  kind      TEXT NOT NULL,
  at        INTEGER NOT NULL,
  text      TEXT NOT NULL,
  stream    TEXT,
  status    TEXT,
  exit_code INTEGER,
  intent    BLOB
) STRICT;

-- Turns that have not ended, in the order they were asked for. `name` is in the environment of the
-- turn's processes, which proves them ours after a crash. `intent` asked for the turn.
CREATE TABLE turns (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  name    TEXT NOT NULL,
  agent   INTEGER NOT NULL,
  started INTEGER NOT NULL,
  prompt  TEXT NOT NULL,
  intent  BLOB NOT NULL
) STRICT;
CREATE INDEX turns_by_agent ON turns (agent, id);
