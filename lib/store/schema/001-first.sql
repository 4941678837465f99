-- The state of migrations. Times are Unix milliseconds (…_us: microseconds). No column may ever hold a secret: what an
-- endpoint row keeps is named in store/records.h, and settings are stored as a hash only.

-- How each migration stands; one row each. Every change of route or phase adds one to epoch.
CREATE TABLE migration (
  id               INTEGER PRIMARY KEY,
  name             TEXT NOT NULL UNIQUE,
  family           TEXT NOT NULL,
  state            TEXT NOT NULL,
  epoch            INTEGER NOT NULL,
  authority        TEXT NOT NULL CHECK (authority IN ('source', 'target')),
  writes           TEXT NOT NULL CHECK (writes IN ('source', 'target')),
  reads            TEXT NOT NULL CHECK (reads IN ('source', 'target')),
  hold             INTEGER NOT NULL CHECK (hold IN (0, 1)),
  hold_deadline_ms INTEGER NOT NULL,
  mirror_percent   REAL NOT NULL,
  aa_percent       REAL NOT NULL,
  canary_percent   REAL NOT NULL,
  migrating        INTEGER NOT NULL CHECK (migrating IN (0, 1)),
  forward          TEXT NOT NULL CHECK (forward IN ('off', 'standby', 'apply')),
  reverse          TEXT NOT NULL CHECK (reverse IN ('off', 'standby', 'apply')),
  strategy         TEXT NOT NULL,
  attempt          INTEGER NOT NULL,
  switched_ms      INTEGER NOT NULL,
  flag_paused      TEXT NOT NULL,
  flag_degraded    TEXT NOT NULL,
  flag_blocked     TEXT NOT NULL,
  config_hash      TEXT NOT NULL,
  plan_hash        TEXT NOT NULL,
  lineage          TEXT NOT NULL,
  schema_hash      TEXT NOT NULL,
  tool_version     TEXT NOT NULL,
  created_ms       INTEGER NOT NULL,
  updated_ms       INTEGER NOT NULL,
  -- The target has exactly one writer per epoch: the two movements never apply at the same time.
  CHECK (NOT (forward = 'apply' AND reverse = 'apply')),
  CHECK (writes = authority)
) STRICT;

CREATE TABLE endpoint (
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  side         TEXT NOT NULL CHECK (side IN ('source', 'target')),
  family       TEXT NOT NULL,
  address      TEXT NOT NULL,
  user         TEXT NOT NULL,
  tls          INTEGER NOT NULL,
  version      TEXT NOT NULL,
  PRIMARY KEY (migration_id, side)
) STRICT, WITHOUT ROWID;

-- One run of a phase, or one cutover.
CREATE TABLE phase_run (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  attempt      INTEGER NOT NULL,
  phase        TEXT NOT NULL,
  status       TEXT NOT NULL,
  owner        TEXT NOT NULL,      -- JSON
  started_ms   INTEGER NOT NULL,
  ended_ms     INTEGER NOT NULL,
  detail       TEXT NOT NULL       -- JSON
) STRICT;
CREATE INDEX phase_run_open ON phase_run (migration_id, ended_ms, phase);

-- The cutover journal: the intent is durable before the effect, done after it.
CREATE TABLE step (
  run_id    INTEGER NOT NULL REFERENCES phase_run (id) ON DELETE CASCADE,
  step      TEXT NOT NULL,
  done      INTEGER NOT NULL CHECK (done IN (0, 1)),
  note      TEXT NOT NULL,         -- JSON
  intent_us INTEGER NOT NULL,
  done_us   INTEGER NOT NULL,
  PRIMARY KEY (run_id, step)
) STRICT, WITHOUT ROWID;

-- What lifts a fence again. A row exists from before the fence is raised until after it is lifted.
CREATE TABLE fence (
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  side         TEXT NOT NULL CHECK (side IN ('source', 'target')),
  prepared     TEXT NOT NULL,
  raised       INTEGER NOT NULL CHECK (raised IN (0, 1)),
  run_id       INTEGER NOT NULL,
  at_ms        INTEGER NOT NULL,
  PRIMARY KEY (migration_id, side)
) STRICT, WITHOUT ROWID;

-- What was measured. Never changed, never deleted.
CREATE TABLE evidence (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  attempt      INTEGER NOT NULL,
  kind         TEXT NOT NULL,
  verdict      TEXT NOT NULL CHECK (verdict IN ('pass', 'fail', 'warn', 'inconclusive')),
  data         TEXT NOT NULL,      -- JSON
  config_hash  TEXT NOT NULL,
  plan_hash    TEXT NOT NULL,
  lineage      TEXT NOT NULL,
  schema_hash  TEXT NOT NULL,
  tool_version TEXT NOT NULL,
  at_ms        INTEGER NOT NULL
) STRICT;
CREATE INDEX evidence_kind ON evidence (migration_id, kind, id);
CREATE TRIGGER evidence_is_immutable BEFORE UPDATE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is immutable'); END;
CREATE TRIGGER evidence_is_kept BEFORE DELETE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is never deleted'); END;

-- Who decided what and why. Never changed, never deleted.
CREATE TABLE decision (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  attempt      INTEGER NOT NULL,
  kind         TEXT NOT NULL,
  subject      TEXT NOT NULL,
  reason       TEXT NOT NULL,
  owner        TEXT NOT NULL,      -- JSON
  config_hash  TEXT NOT NULL,
  epoch        INTEGER NOT NULL,
  at_ms        INTEGER NOT NULL
) STRICT;
CREATE INDEX decision_subject ON decision (migration_id, attempt, subject, id);
CREATE TRIGGER decision_is_immutable BEFORE UPDATE ON decision
BEGIN SELECT RAISE(ABORT, 'a decision is immutable'); END;
CREATE TRIGGER decision_is_kept BEFORE DELETE ON decision
BEGIN SELECT RAISE(ABORT, 'a decision is never deleted'); END;

CREATE TABLE finding (
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  phase        TEXT NOT NULL,
  ordinal      INTEGER NOT NULL,
  check_id     TEXT NOT NULL,
  severity     TEXT NOT NULL,
  subject      TEXT NOT NULL,
  text         TEXT NOT NULL,
  hint         TEXT NOT NULL,
  at_ms        INTEGER NOT NULL,
  PRIMARY KEY (migration_id, phase, ordinal)
) STRICT, WITHOUT ROWID;

-- Places in change streams and copies; the family's own text.
CREATE TABLE position (
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  direction    TEXT NOT NULL,
  name         TEXT NOT NULL,
  value        TEXT NOT NULL,
  at_ms        INTEGER NOT NULL,
  PRIMARY KEY (migration_id, direction, name)
) STRICT, WITHOUT ROWID;

-- Keys, rows and documents that could not be moved. The key's raw bytes.
CREATE TABLE item_error (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  direction    TEXT NOT NULL,
  location     TEXT NOT NULL,
  key          BLOB NOT NULL,
  reason       TEXT NOT NULL,
  attempts     INTEGER NOT NULL,
  at_ms        INTEGER NOT NULL,
  UNIQUE (migration_id, direction, location, key)
) STRICT;

-- Differences in the data that a verify run confirmed.
CREATE TABLE divergence (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  location     TEXT NOT NULL,
  key          TEXT NOT NULL,
  kind         TEXT NOT NULL,
  detail       TEXT NOT NULL,
  found_ms     INTEGER NOT NULL,
  resolved_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX divergence_open ON divergence (migration_id, resolved_ms, location, key, kind);

CREATE TABLE epoch_log (
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  epoch        INTEGER NOT NULL,
  at_ms        INTEGER NOT NULL,
  from_state   TEXT NOT NULL,
  to_state     TEXT NOT NULL,
  authority    TEXT NOT NULL,
  writes       TEXT NOT NULL,
  reads        TEXT NOT NULL,
  hold         INTEGER NOT NULL,
  command      TEXT NOT NULL,
  reason       TEXT NOT NULL,
  by           TEXT NOT NULL,
  PRIMARY KEY (migration_id, epoch)
) STRICT, WITHOUT ROWID;

-- Interlay processes that registered; a switch waits for every one of them.
CREATE TABLE worker (
  migration_id     INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  id               TEXT NOT NULL,
  pid              INTEGER NOT NULL,
  pid_start        INTEGER NOT NULL,
  host             TEXT NOT NULL,
  control          TEXT NOT NULL,
  listen           TEXT NOT NULL,
  epoch            INTEGER NOT NULL,
  writes_in_flight INTEGER NOT NULL,
  held             INTEGER NOT NULL,
  blocker          TEXT NOT NULL,
  started_ms       INTEGER NOT NULL,
  seen_ms          INTEGER NOT NULL,
  PRIMARY KEY (migration_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  at_ms        INTEGER NOT NULL,
  severity     TEXT NOT NULL,
  code         TEXT NOT NULL,
  text         TEXT NOT NULL,
  data         TEXT NOT NULL       -- JSON
) STRICT;

CREATE TABLE command_log (
  id           INTEGER PRIMARY KEY,
  migration_id INTEGER NOT NULL REFERENCES migration (id) ON DELETE CASCADE,
  command      TEXT NOT NULL,
  owner        TEXT NOT NULL,      -- JSON
  started_ms   INTEGER NOT NULL,
  ended_ms     INTEGER NOT NULL,
  exit_code    INTEGER NOT NULL,
  headline     TEXT NOT NULL
) STRICT;
