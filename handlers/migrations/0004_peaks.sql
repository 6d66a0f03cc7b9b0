-- How loud a recording is, for drawing it: a character for each of equally long pieces of what was listened to, 0 to z
-- for -60 dB and less up to full scale. NULL: nobody listened.
ALTER TABLE recording ADD COLUMN peaks TEXT;
