-- The storage class that an object in S3 was given since it was put: empty, one's name, or "refused <name>".
ALTER TABLE copy ADD COLUMN storage_class TEXT NOT NULL DEFAULT '';
CREATE INDEX copy_by_class ON copy (storage_class, item_id) WHERE place = 's3' AND role = 'audio' AND state = 'verified';
