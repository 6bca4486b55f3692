-- Version 3. Frozen: a change is a new file.

-- The intent that created the agent, so that a client reconciles what it showed in advance. NULL: from before this version.
ALTER TABLE agents ADD COLUMN intent TEXT;
