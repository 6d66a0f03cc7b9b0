-- How often what belongs under a key became something else. Content that is wanted there again after other content is
-- another round, and so another effect than the one that put it first.
ALTER TABLE copy ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
UPDATE copy SET round = 1 WHERE state = 'intended';
