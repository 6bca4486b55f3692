-- Version 7. Frozen: a change is a new file.

-- Who stored something (TR-12): 0 the daemon itself or unknown, 1 the local socket, else the first eight bytes of a device's
-- key. `intents.bytes` is the size of the request's parameters and of its outcome.
ALTER TABLE intents ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
DROP INDEX intents_by_age;
CREATE INDEX intents_by_age ON intents (created_at, owner, bytes);
ALTER TABLE agents ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE service_data ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
