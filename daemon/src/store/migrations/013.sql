-- Version 13. Frozen: a change is a new file.

-- All that they held has been moved.
DROP TABLE agents;
DROP TABLE items;
DROP TABLE turns;
