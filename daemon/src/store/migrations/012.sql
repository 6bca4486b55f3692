-- Version 12. Frozen: a change is a new file.

-- Whether a row, or a log with its items, counts towards what its service bounds by itself and not towards the quotas of
-- services' data. `logs.counted` is what its items count as then. Afterwards the tables `agents`, `items` and `turns` are moved
-- into the tables and logs of a service.
ALTER TABLE service_data ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logs ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logs ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;

-- With row ids: an item of about 1,000 bytes and more would take a page of its own without them.
ALTER TABLE log_items RENAME TO old_items;
CREATE TABLE log_items (
  log      INTEGER NOT NULL,
  position INTEGER NOT NULL,
  value    BLOB NOT NULL,
  UNIQUE (log, position)
) STRICT;
INSERT INTO log_items SELECT log, position, value FROM old_items ORDER BY log, position;
DROP TABLE old_items;
