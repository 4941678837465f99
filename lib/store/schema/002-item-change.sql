-- What a movement did to items besides copying them, or left as they were on purpose: repairs and conflicts. The key's raw
-- bytes. One row per item, the newest.
CREATE TABLE item_change (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  direction    TEXT NOT NULL,
  location     TEXT NOT NULL,
  key          BLOB NOT NULL,
  side         TEXT NOT NULL CHECK (side IN ('source', 'target')),
  action       TEXT NOT NULL,
  reason       TEXT NOT NULL,
  detail       TEXT NOT NULL,
  at_ms        INTEGER NOT NULL,
  UNIQUE (migration_id, direction, location, key)
) STRICT;
CREATE INDEX item_change_action ON item_change (migration_id, direction, action);
