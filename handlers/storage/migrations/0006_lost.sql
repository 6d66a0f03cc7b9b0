-- What was lost and is to be put again: few at any time, and looked for by the clock.
CREATE INDEX copy_lost ON copy (lost_us) WHERE state = 'intended' AND lost_us IS NOT NULL;
