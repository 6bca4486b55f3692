-- Version 11. Frozen: a change is a new file.

-- Finds the blobs to remove without looking at those that were touched lately.
CREATE INDEX blobs_by_touched ON blobs (touched);
