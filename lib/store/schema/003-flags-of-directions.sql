-- What is wrong is kept for each direction: what one of them gets done says nothing about the other. Until now there was one
-- flag for both; it was about the stream that runs.
ALTER TABLE migration RENAME COLUMN flag_degraded TO forward_degraded;
ALTER TABLE migration RENAME COLUMN flag_blocked TO forward_blocked;
ALTER TABLE migration ADD COLUMN reverse_degraded TEXT NOT NULL DEFAULT '';
ALTER TABLE migration ADD COLUMN reverse_blocked TEXT NOT NULL DEFAULT '';
UPDATE migration SET reverse_degraded = forward_degraded, reverse_blocked = forward_blocked,
  forward_degraded = '', forward_blocked = '' WHERE authority = 'target';

-- Never set: a row means that the fence may stand, and whether it does is asked of the server.
ALTER TABLE fence DROP COLUMN raised;
