-- When a copy that was verified was found to be missing or to be something else. A row that was verified since keeps it:
-- its object was put again, under an effect of its own.
ALTER TABLE copy ADD COLUMN lost_us INTEGER;
