-- Samples of differing answers; only the interlay's process writes them. Counts are complete, samples are bounded per class.
CREATE TABLE sample_count (
  migration TEXT NOT NULL,
  command   TEXT NOT NULL,
  reason    TEXT NOT NULL,
  outcome   TEXT NOT NULL,
  aa        INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  PRIMARY KEY (migration, command, reason, outcome, aa)
) STRICT, WITHOUT ROWID;

CREATE TABLE sample (
  id        INTEGER PRIMARY KEY,
  migration TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  command   TEXT NOT NULL,
  reason    TEXT NOT NULL,
  outcome   TEXT NOT NULL,
  aa        INTEGER NOT NULL,
  request   BLOB NOT NULL,
  left      BLOB NOT NULL,
  right     BLOB NOT NULL
) STRICT;
CREATE INDEX sample_class ON sample (migration, command, reason, outcome, aa, id);
