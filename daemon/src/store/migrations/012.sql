-- Version 12. Frozen: a change is a new file.

-- Whether a row, or a log with its items, counts towards what its service bounds by itself and not towards the quotas of
-- services' data. Afterwards the tables `agents`, `items` and `turns` are moved into the tables and logs of a service.
ALTER TABLE service_data ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logs ADD COLUMN apart INTEGER NOT NULL DEFAULT 0;
