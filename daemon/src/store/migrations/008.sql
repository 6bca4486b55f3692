-- Version 8. Frozen: a change is a new file.

-- Retention (TR-12). `items.dropped` is the number of bytes of text that the item had before it was dropped, `items.lived` the
-- store's own time at which it began; what there was begins its time anew.
ALTER TABLE items ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE items ADD COLUMN lived INTEGER NOT NULL DEFAULT 0;
UPDATE items SET lived = coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'lived'), 0);

-- `bytes` is the size of an agent's timeline: its texts, and 128 for each item. Outputs before `outputs_from` and texts before
-- `texts_from` are dropped. `oldest` is about the `items.lived` of the item at `outputs_from`, null where only items of a turn
-- that has not ended are left.
ALTER TABLE agents ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN outputs_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN texts_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN oldest INTEGER;
UPDATE agents SET
  bytes = coalesce((SELECT sum(128 + octet_length(text)) FROM items
    WHERE position >= agents.n * 4294967296 AND position < (agents.n + 1) * 4294967296), 0),
  oldest = (SELECT lived FROM items WHERE position = agents.n * 4294967296);
CREATE INDEX agents_by_oldest ON agents (oldest);
CREATE INDEX agents_by_owner ON agents (owner, oldest);
