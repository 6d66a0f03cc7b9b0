-- Which recordings were in the call that the CRM accepted last.
CREATE TABLE delivered_recording (
  conversation_id  INTEGER NOT NULL REFERENCES conversation (id),
  recording_id     INTEGER NOT NULL,
  PRIMARY KEY (conversation_id, recording_id)
) STRICT, WITHOUT ROWID;
INSERT INTO delivered_recording
  SELECT DISTINCT call.conversation_id, json_extract(sent.value, '$.id') FROM call, json_each(call.delivered, '$.recordings') AS sent
  WHERE json_extract(sent.value, '$.id') IS NOT NULL;
