PRAGMA application_id = 1667329132;
BEGIN TRANSACTION;
CREATE TABLE answer (
  id           INTEGER PRIMARY KEY,
  effect_key   TEXT NOT NULL,
  http_status  INTEGER,
  body         TEXT NOT NULL,
  at_us        INTEGER NOT NULL
) STRICT;
INSERT INTO "answer" VALUES(1,'crm.call:CALL-20251029-070824-50102:a58207a9a1774defd50d',413,'{"success": false, "message": "file too large"}',1795698704153622);
CREATE TABLE call (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  call_id          TEXT UNIQUE,
  fixed_us         INTEGER,
  delivered_us     INTEGER,
  delivered        TEXT,                       -- JSON: what was in the call the CRM accepted last
  recording_url    TEXT,
  spoken_for       TEXT NOT NULL DEFAULT 'callspool' CHECK (spoken_for IN ('callspool', 'marker', 'person')),
  CHECK ((call_id IS NULL) = (fixed_us IS NULL))
) STRICT;
INSERT INTO "call" VALUES(3,'CALL-20251029-064824-50100',1795698702140241,1795698703397180,'{"transcript":"477eba3fc21894f434ecb9a24e65660819f3db66e59cc3793ccc7a0f47773c0f","recordings":[{"id":1,"side":"mixed","sha256":"d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a"}],"lead":{"id":2,"sha256":"95acd2149279b90529df714f10c6a468f5ff8e71c096a05d58317b7a77f876b5"},"attempts":1}','http://127.0.0.1:8000/apis/uploads/recordings/1795698690969.ogg','callspool');
INSERT INTO "call" VALUES(5,'CALL-20251029-065824-50101',1795698702136617,1795698703412846,'{"transcript":"6f6c7859a09bfabed1f74f4a239f900684ed14c72e111c17c550dd4acf1779dd","recordings":[{"id":4,"side":"mixed","sha256":"0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a"}],"lead":null,"attempts":1}','http://127.0.0.1:8000/apis/uploads/recordings/1795698690970.ogg','callspool');
INSERT INTO "call" VALUES(6,'CALL-20251029-070824-50102',1795698704068403,NULL,NULL,NULL,'callspool');
CREATE TABLE chunk (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  session        TEXT NOT NULL,
  chunk_index    INTEGER NOT NULL CHECK (chunk_index >= 0),
  registered_us  INTEGER NOT NULL
) STRICT;
CREATE TABLE conversation (
  id               INTEGER PRIMARY KEY REFERENCES item (id),
  name             TEXT NOT NULL,
  document         TEXT NOT NULL,            -- the whole object as it was read
  session_id       TEXT,
  start_us         INTEGER,
  start_source     TEXT,
  end_us           INTEGER,
  end_source       TEXT,
  session_us       INTEGER,
  field_start_us   INTEGER,
  field_end_us     INTEGER,
  saved_us         INTEGER,
  number           TEXT,
  call_ref         TEXT,
  room             TEXT,
  lead_expected    INTEGER CHECK (lead_expected IN (0, 1)),
  turns            TEXT NOT NULL DEFAULT '[]',  -- [[role, microseconds or null], …]
  flags            TEXT NOT NULL DEFAULT '[]',
  registered_us    INTEGER NOT NULL,
  CHECK ((start_us IS NULL) = (start_source IS NULL)),
  CHECK ((end_us IS NULL) = (end_source IS NULL))
) STRICT;
INSERT INTO "conversation" VALUES(3,'transcript_session_2025-10-29T06-48-28.123000.json','{"session_id":"session_20251029_064824_00000000","start_time":"2025-10-29T06:48:24.123Z","end_time":"2025-10-29T06:48:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T06:48:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T06:48:26.623Z"}],"lead_generated":true,"metadata":{"auto_saved":true}}','session_20251029_064824_00000000',1761720504123000,'field',1761720507123000,'field',1761720504000000,1761720504123000,1761720507123000,1761720508123000,NULL,NULL,NULL,1,'[["assistant",1761720504623000],["user",1761720506623000]]','[]',1795698700647922);
INSERT INTO "conversation" VALUES(5,'transcript_session_2025-10-29T06-58-28.123000.json','{"session_id":"session_20251029_065824_00000001","start_time":"2025-10-29T06:58:24.123Z","end_time":"2025-10-29T06:58:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T06:58:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T06:58:26.623Z"}],"lead_generated":false,"metadata":{"auto_saved":true}}','session_20251029_065824_00000001',1761721104123000,'field',1761721107123000,'field',1761721104000000,1761721104123000,1761721107123000,1761721108123000,NULL,NULL,NULL,0,'[["assistant",1761721104623000],["user",1761721106623000]]','[]',1795698701489181);
INSERT INTO "conversation" VALUES(6,'transcript_session_2025-10-29T07-08-28.123000.json','{"session_id":"session_20251029_070824_00000002","start_time":"2025-10-29T07:08:24.123Z","end_time":"2025-10-29T07:08:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T07:08:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T07:08:26.623Z"}],"lead_generated":false,"metadata":{"auto_saved":true}}','session_20251029_070824_00000002',1761721704123000,'field',1761721707123000,'field',1761721704000000,1761721704123000,1761721707123000,1761721708123000,NULL,NULL,NULL,0,'[["assistant",1761721704623000],["user",1761721706623000]]','[]',1795698703897094);
INSERT INTO "conversation" VALUES(8,'transcript_session_2025-10-29T07-18-28.123000.json','{"session_id":"session_20251029_071824_00000003","start_time":"2025-10-29T07:18:24.123Z","end_time":"2025-10-29T07:18:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T07:18:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T07:18:26.623Z"}],"lead_generated":false,"metadata":{"auto_saved":true}}','session_20251029_071824_00000003',1761722304123000,'field',1761722307123000,'field',1761722304000000,1761722304123000,1761722307123000,1761722308123000,NULL,NULL,NULL,0,'[["assistant",1761722304623000],["user",1761722306623000]]','[]',1795698704228578);
CREATE TABLE destination (
  name          TEXT PRIMARY KEY,
  state         TEXT NOT NULL CHECK (state IN ('closed', 'open', 'resting', 'asked')),
  failures      INTEGER NOT NULL DEFAULT 0,        -- destination-level, in a row
  rests         INTEGER NOT NULL DEFAULT 0,        -- times in a row it was found still shut
  until_us      INTEGER NOT NULL DEFAULT 0,
  probe_us      INTEGER NOT NULL DEFAULT 0,        -- when a job was let through to probe it; 0: nobody is out
  reason        TEXT NOT NULL DEFAULT '',
  succeeded_us  INTEGER,
  changed_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "destination" VALUES('crm','closed',0,0,1795698704153459,0,'',1795698704106653,1795698704153622);
INSERT INTO "destination" VALUES('disk','closed',0,0,1795698703429799,0,'',1795698703429799,1795698703429909);
CREATE TABLE effect (
  key          TEXT PRIMARY KEY,
  host_id      TEXT NOT NULL,
  type         TEXT NOT NULL,
  identity     TEXT NOT NULL,
  dest         TEXT NOT NULL,
  payload      TEXT NOT NULL,
  state        TEXT NOT NULL
               CHECK (state IN ('pending', 'in_flight', 'in_doubt', 'done', 'parked', 'superseded')),
  sends        INTEGER NOT NULL DEFAULT 0 CHECK (sends >= 0),
  failures     INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),   -- in a row, whatever the kind
  refusals     INTEGER NOT NULL DEFAULT 0 CHECK (refusals >= 0),
  reason       TEXT NOT NULL DEFAULT '',
  http_status  INTEGER,
  receipt      TEXT,
  created_us   INTEGER NOT NULL,
  changed_us   INTEGER NOT NULL,
  CHECK ((state = 'done') = (receipt IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO "effect" VALUES('crm.call:CALL-20251029-064824-50100:ff1f9b90a969601a145a','01bed55cc04816b9','crm.call','CALL-20251029-064824-50100','crm','{"conversation":3,"members":{"transcript":"477eba3fc21894f434ecb9a24e65660819f3db66e59cc3793ccc7a0f47773c0f","recordings":[{"id":1,"side":"mixed","sha256":"d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a"}],"lead":{"id":2,"sha256":"95acd2149279b90529df714f10c6a468f5ff8e71c096a05d58317b7a77f876b5"}},"body":{"callDetails":{"callId":"CALL-20251029-064824-50100","direction":"inbound","startTime":"2025-10-29T06:48:24.123Z","endTime":"2025-10-29T06:48:27.123Z","duration":3,"status":"completed","callerNumber":"+12025550100","recordingDuration":3,"recordingSize":16251},"caller":{"phoneNumber":"+12025550100"},"transcription":{"session_id":"session_20251029_064824_00000000","start_time":"2025-10-29T06:48:24.123Z","end_time":"2025-10-29T06:48:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T06:48:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T06:48:26.623Z"}],"lead_generated":true,"metadata":{"auto_saved":true}},"lead":{"name":"A. Caller","email":"caller@crm.example","company":"Acme","interest":"quote","n":0}},"upload":"d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a:number-_12025550100-1761720504.ogg","url":null,"update":false}','done',1,0,0,'',NULL,'{"accepted_at":"2026-11-26T13:11:43.397Z","url":"http://127.0.0.1:8000/apis/uploads/recordings/1795698690969.ogg","attempts":1}',1795698702148798,1795698703397565);
INSERT INTO "effect" VALUES('crm.call:CALL-20251029-065824-50101:bcf1d2a7c43ccd026977','01bed55cc04816b9','crm.call','CALL-20251029-065824-50101','crm','{"conversation":5,"members":{"transcript":"6f6c7859a09bfabed1f74f4a239f900684ed14c72e111c17c550dd4acf1779dd","recordings":[{"id":4,"side":"mixed","sha256":"0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a"}],"lead":null},"body":{"callDetails":{"callId":"CALL-20251029-065824-50101","direction":"inbound","startTime":"2025-10-29T06:58:24.123Z","endTime":"2025-10-29T06:58:27.123Z","duration":3,"status":"completed","callerNumber":"+12025550101","recordingDuration":3,"recordingSize":16251},"caller":{"phoneNumber":"+12025550101"},"transcription":{"session_id":"session_20251029_065824_00000001","start_time":"2025-10-29T06:58:24.123Z","end_time":"2025-10-29T06:58:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T06:58:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T06:58:26.623Z"}],"lead_generated":false,"metadata":{"auto_saved":true}}},"upload":"0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a:number-_12025550101-1761721104.ogg","url":null,"update":false}','done',1,0,0,'',NULL,'{"accepted_at":"2026-11-26T13:11:43.412Z","url":"http://127.0.0.1:8000/apis/uploads/recordings/1795698690970.ogg","attempts":1}',1795698702138444,1795698703413178);
INSERT INTO "effect" VALUES('crm.call:CALL-20251029-070824-50102:a58207a9a1774defd50d','01bed55cc04816b9','crm.call','CALL-20251029-070824-50102','crm','{"conversation":6,"members":{"transcript":"801893b1f8cdf55dff6abb31fc8d7236eceac8cf38cb680aa9eead921d5af957","recordings":[{"id":7,"side":"mixed","sha256":"5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e"}],"lead":null},"body":{"callDetails":{"callId":"CALL-20251029-070824-50102","direction":"inbound","startTime":"2025-10-29T07:08:24.123Z","endTime":"2025-10-29T07:08:27.123Z","duration":3,"status":"completed","callerNumber":"+12025550102","recordingDuration":3,"recordingSize":16251},"caller":{"phoneNumber":"+12025550102"},"transcription":{"session_id":"session_20251029_070824_00000002","start_time":"2025-10-29T07:08:24.123Z","end_time":"2025-10-29T07:08:27.123Z","duration_seconds":3,"total_items":2,"conversation_items":[{"role":"assistant","content":"How may I help?","timestamp":"2025-10-29T07:08:24.623Z"},{"role":"user","content":"A quote, please.","timestamp":"2025-10-29T07:08:26.623Z"}],"lead_generated":false,"metadata":{"auto_saved":true}}},"upload":"5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e:number-_12025550102-1761721704.ogg","url":null,"update":false}','parked',1,1,0,'answered 413: file too large',413,NULL,1795698704075110,1795698704153622);
INSERT INTO "effect" VALUES('crm.upload:0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a:number-_12025550101-1761721104.ogg:622bf863adf3cf6f44ce','01bed55cc04816b9','crm.upload','0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a:number-_12025550101-1761721104.ogg','crm','{"item":4,"name":"number-_12025550101-1761721104.ogg","size":16251,"sha256":"0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a"}','done',1,0,0,'',NULL,'{"url":"http://127.0.0.1:8000/apis/uploads/recordings/1795698690970.ogg","attempts":1}',1795698702138444,1795698703376726);
INSERT INTO "effect" VALUES('crm.upload:5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e:number-_12025550102-1761721704.ogg:23013c0f91d28ef30288','01bed55cc04816b9','crm.upload','5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e:number-_12025550102-1761721704.ogg','crm','{"item":7,"name":"number-_12025550102-1761721704.ogg","size":16251,"sha256":"5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e"}','done',1,0,0,'',NULL,'{"url":"http://127.0.0.1:8000/apis/uploads/recordings/1795698690971.ogg","attempts":1}',1795698704075110,1795698704106823);
INSERT INTO "effect" VALUES('crm.upload:d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a:number-_12025550100-1761720504.ogg:e8a05b0f8354310d6a2c','01bed55cc04816b9','crm.upload','d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a:number-_12025550100-1761720504.ogg','crm','{"item":1,"name":"number-_12025550100-1761720504.ogg","size":16251,"sha256":"d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a"}','done',1,0,0,'',NULL,'{"url":"http://127.0.0.1:8000/apis/uploads/recordings/1795698690969.ogg","attempts":1}',1795698702148798,1795698703357850);
INSERT INTO "effect" VALUES('marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T06-48-28.123000.json.uploaded:b30f1460d9a469e8c264','01bed55cc04816b9','marker.write','/srv/calls/processed_uploads/transcript_session_2025-10-29T06-48-28.123000.json.uploaded','disk','{"path":"/srv/calls/processed_uploads/transcript_session_2025-10-29T06-48-28.123000.json.uploaded","original_path":"conversations/transcript_session_2025-10-29T06-48-28.123000.json","lead":true,"call":"CALL-20251029-064824-50100","accepted":null,"members":{"transcript":"477eba3fc21894f434ecb9a24e65660819f3db66e59cc3793ccc7a0f47773c0f","recordings":[{"id":1,"side":"mixed","sha256":"d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a"}],"lead":{"id":2,"sha256":"95acd2149279b90529df714f10c6a468f5ff8e71c096a05d58317b7a77f876b5"}}}','done',1,0,0,'',NULL,'{"path":"/srv/calls/processed_uploads/transcript_session_2025-10-29T06-48-28.123000.json.uploaded"}',1795698702148798,1795698703428343);
INSERT INTO "effect" VALUES('marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T06-58-28.123000.json.uploaded:13f1e218e0d3273fd123','01bed55cc04816b9','marker.write','/srv/calls/processed_uploads/transcript_session_2025-10-29T06-58-28.123000.json.uploaded','disk','{"path":"/srv/calls/processed_uploads/transcript_session_2025-10-29T06-58-28.123000.json.uploaded","original_path":"conversations/transcript_session_2025-10-29T06-58-28.123000.json","lead":false,"call":"CALL-20251029-065824-50101","accepted":null,"members":{"transcript":"6f6c7859a09bfabed1f74f4a239f900684ed14c72e111c17c550dd4acf1779dd","recordings":[{"id":4,"side":"mixed","sha256":"0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a"}],"lead":null}}','done',1,0,0,'',NULL,'{"path":"/srv/calls/processed_uploads/transcript_session_2025-10-29T06-58-28.123000.json.uploaded"}',1795698702138444,1795698703429909);
INSERT INTO "effect" VALUES('marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T07-08-28.123000.json.uploaded:b4f770cf886f4e444098','01bed55cc04816b9','marker.write','/srv/calls/processed_uploads/transcript_session_2025-10-29T07-08-28.123000.json.uploaded','disk','{"path":"/srv/calls/processed_uploads/transcript_session_2025-10-29T07-08-28.123000.json.uploaded","original_path":"conversations/transcript_session_2025-10-29T07-08-28.123000.json","lead":false,"call":"CALL-20251029-070824-50102","accepted":null,"members":{"transcript":"801893b1f8cdf55dff6abb31fc8d7236eceac8cf38cb680aa9eead921d5af957","recordings":[{"id":7,"side":"mixed","sha256":"5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e"}],"lead":null}}','pending',0,0,0,'',NULL,NULL,1795698704075110,1795698704075110);
CREATE TABLE file (
  folder_id      INTEGER NOT NULL REFERENCES folder (id),
  name           BLOB NOT NULL,
  size           INTEGER NOT NULL,
  mtime_ns       INTEGER NOT NULL,
  ctime_ns       INTEGER NOT NULL,
  ino            INTEGER NOT NULL,
  state          TEXT NOT NULL
                 CHECK (state IN ('settling', 'known', 'empty', 'unreadable', 'irregular', 'old', 'attention')),
  item_id        INTEGER REFERENCES item (id),
  reason         TEXT NOT NULL DEFAULT '',
  flags          TEXT NOT NULL DEFAULT '[]',
  first_seen_us  INTEGER NOT NULL,
  changed_us     INTEGER NOT NULL,
  PRIMARY KEY (folder_id, name),
  CHECK (state != 'known' OR item_id IS NOT NULL)   -- a changed file keeps its old item until it has settled again
) STRICT, WITHOUT ROWID;
INSERT INTO "file" VALUES(1,X'6E756D6265722D5F31323032353535303130302D313736313732303530342E6F6767',16251,1795698700443449716,1795698700482563270,2148844,'known',1,'no writer, complete','[]',1795698700622197,1795698700622197);
INSERT INTO "file" VALUES(1,X'6E756D6265722D5F31323032353535303130312D313736313732313130342E6F6767',16251,1795698701356865970,1795698701368865971,2148847,'known',4,'no writer, complete','[]',1795698701488540,1795698701488540);
INSERT INTO "file" VALUES(1,X'6E756D6265722D5F31323032353535303130322D313736313732313730342E6F6767',16251,1795698703832866117,1795698703840866118,2148859,'known',7,'no writer, complete','[]',1795698703916810,1795698703916810);
INSERT INTO "file" VALUES(2,X'6C656164735F73657373696F6E5F323032352D31302D32395430362D34382D32382E3132333030302E6A736F6E',100,1795698700483759749,1795698700483759749,2148846,'known',2,'no writer, complete','[]',1795698700647325,1795698700647325);
INSERT INTO "file" VALUES(3,X'7472616E7363726970745F73657373696F6E5F323032352D31302D32395430362D34382D32382E3132333030302E6A736F6E',439,1795698700483495144,1795698700483495144,2148845,'known',3,'no writer, complete','[]',1795698700647922,1795698700647922);
INSERT INTO "file" VALUES(3,X'7472616E7363726970745F73657373696F6E5F323032352D31302D32395430362D35382D32382E3132333030302E6A736F6E',440,1795698701373151294,1795698701373151294,2148848,'known',5,'no writer, complete','[]',1795698701489181,1795698701489181);
INSERT INTO "file" VALUES(3,X'7472616E7363726970745F73657373696F6E5F323032352D31302D32395430372D30382D32382E3132333030302E6A736F6E',440,1795698703845117484,1795698703845117484,2148861,'known',6,'no writer, complete','[]',1795698703897094,1795698703897094);
INSERT INTO "file" VALUES(3,X'7472616E7363726970745F73657373696F6E5F323032352D31302D32395430372D31382D32382E3132333030302E6A736F6E',440,1795698704157260078,1795698704157260078,2146473,'known',8,'no writer, complete','[]',1795698704228578,1795698704228578);
CREATE TABLE folder (
  id       INTEGER PRIMARY KEY,
  root_id  INTEGER NOT NULL REFERENCES root (id),
  path     BLOB NOT NULL,
  UNIQUE (root_id, path)
) STRICT;
INSERT INTO "folder" VALUES(1,1,X'');
INSERT INTO "folder" VALUES(2,3,X'');
INSERT INTO "folder" VALUES(3,2,X'');
CREATE TABLE former_file (
  id             INTEGER PRIMARY KEY,
  folder_id      INTEGER NOT NULL REFERENCES folder (id),
  name           BLOB NOT NULL,
  size           INTEGER NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('replaced', 'gone')),
  item_id        INTEGER REFERENCES item (id),
  reason         TEXT NOT NULL DEFAULT '',
  first_seen_us  INTEGER NOT NULL,
  changed_us     INTEGER NOT NULL,
  old_ino        INTEGER,                    -- of a file that was old: it is known by these under another name
  old_mtime_ns   INTEGER
) STRICT;
CREATE TABLE item (
  id             INTEGER PRIMARY KEY,
  host_id        TEXT NOT NULL,
  role           TEXT NOT NULL,
  kind           TEXT NOT NULL,
  sha256         TEXT NOT NULL CHECK (length(sha256) = 64),
  size           INTEGER NOT NULL CHECK (size > 0),
  evidence       TEXT NOT NULL,
  name           TEXT NOT NULL,
  path           TEXT NOT NULL,
  mtime_ns       INTEGER NOT NULL,
  first_seen_us  INTEGER NOT NULL,
  flags          TEXT NOT NULL DEFAULT '[]',
  replaces       INTEGER REFERENCES item (id),   -- the content this name held before
  UNIQUE (role, sha256, evidence)
) STRICT;
INSERT INTO "item" VALUES(1,'01bed55cc04816b9','recordings','recording','d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a',16251,'epoch:1761720504 number:56bcf01f15ebc008','number-_12025550100-1761720504.ogg','number-_12025550100-1761720504.ogg',1795698700443449716,1795698700622197,'[]',NULL);
INSERT INTO "item" VALUES(2,'01bed55cc04816b9','leads','lead','95acd2149279b90529df714f10c6a468f5ff8e71c096a05d58317b7a77f876b5',100,'stamp:2025-10-29T06:48:28.123000','leads_session_2025-10-29T06-48-28.123000.json','leads_session_2025-10-29T06-48-28.123000.json',1795698700483759749,1795698700647325,'[]',NULL);
INSERT INTO "item" VALUES(3,'01bed55cc04816b9','conversations','conversation','477eba3fc21894f434ecb9a24e65660819f3db66e59cc3793ccc7a0f47773c0f',439,'stamp:2025-10-29T06:48:28.123000','transcript_session_2025-10-29T06-48-28.123000.json','transcript_session_2025-10-29T06-48-28.123000.json',1795698700483495144,1795698700647922,'[]',NULL);
INSERT INTO "item" VALUES(4,'01bed55cc04816b9','recordings','recording','0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a',16251,'epoch:1761721104 number:0ad2aee0d8bcfaa7','number-_12025550101-1761721104.ogg','number-_12025550101-1761721104.ogg',1795698701356865970,1795698701488540,'[]',NULL);
INSERT INTO "item" VALUES(5,'01bed55cc04816b9','conversations','conversation','6f6c7859a09bfabed1f74f4a239f900684ed14c72e111c17c550dd4acf1779dd',440,'stamp:2025-10-29T06:58:28.123000','transcript_session_2025-10-29T06-58-28.123000.json','transcript_session_2025-10-29T06-58-28.123000.json',1795698701373151294,1795698701489181,'[]',NULL);
INSERT INTO "item" VALUES(6,'01bed55cc04816b9','conversations','conversation','801893b1f8cdf55dff6abb31fc8d7236eceac8cf38cb680aa9eead921d5af957',440,'stamp:2025-10-29T07:08:28.123000','transcript_session_2025-10-29T07-08-28.123000.json','transcript_session_2025-10-29T07-08-28.123000.json',1795698703845117484,1795698703897094,'[]',NULL);
INSERT INTO "item" VALUES(7,'01bed55cc04816b9','recordings','recording','5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e',16251,'epoch:1761721704 number:ea9e17deffc39355','number-_12025550102-1761721704.ogg','number-_12025550102-1761721704.ogg',1795698703832866117,1795698703916810,'[]',NULL);
INSERT INTO "item" VALUES(8,'01bed55cc04816b9','conversations','conversation','de743fa0c4a61f1947d02578fb583bb61c56a6adbc723655d25dcccaa72e6003',440,'stamp:2025-10-29T07:18:28.123000','transcript_session_2025-10-29T07-18-28.123000.json','transcript_session_2025-10-29T07-18-28.123000.json',1795698704157260078,1795698704228578,'[]',NULL);
CREATE TABLE job (
  id          INTEGER PRIMARY KEY,
  host_id     TEXT NOT NULL,
  lane        TEXT NOT NULL,
  kind        TEXT NOT NULL,
  key         TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('ready', 'running', 'waiting', 'done', 'parked')),
  due_us      INTEGER NOT NULL,
  waits_for   TEXT,                       -- the destination whose return wakes it
  lacks       INTEGER REFERENCES item (id),  -- the content whose return wakes it
  attempt     INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  told        INTEGER NOT NULL DEFAULT 0 CHECK (told IN (0, 1)),
  again       INTEGER NOT NULL DEFAULT 0 CHECK (again IN (0, 1)),  -- woken while it ran
  reason      TEXT NOT NULL DEFAULT '',
  fix         TEXT NOT NULL DEFAULT '',
  then_jobs   TEXT NOT NULL DEFAULT '[]',
  created_us  INTEGER NOT NULL,
  changed_us  INTEGER NOT NULL,
  UNIQUE (kind, key),
  CHECK (waits_for IS NULL OR state = 'waiting')
) STRICT;
INSERT INTO "job" VALUES(1,'01bed55cc04816b9','intake','recording','1','done',1795698701637722,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"group:r1","due_us":null}]',1795698700622197,1795698701637722);
INSERT INTO "job" VALUES(2,'01bed55cc04816b9','intake','lead','2','done',1795698700719454,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"lead:2","due_us":null}]',1795698700647325,1795698700719454);
INSERT INTO "job" VALUES(3,'01bed55cc04816b9','intake','conversation','3','done',1795698700695335,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"conversation:3","due_us":null}]',1795698700647922,1795698700695335);
INSERT INTO "job" VALUES(4,'01bed55cc04816b9','match','match','conversation:3','done',1795698702849516,NULL,NULL,2,0,0,'','','[]',1795698700695335,1795698702849516);
INSERT INTO "job" VALUES(5,'01bed55cc04816b9','match','match','lead:2','done',1795698700728731,NULL,NULL,1,0,0,'','','[]',1795698700719454,1795698700728731);
INSERT INTO "job" VALUES(6,'01bed55cc04816b9','intake','recording','4','done',1795698701995453,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"group:r4","due_us":null}]',1795698701488540,1795698701995453);
INSERT INTO "job" VALUES(7,'01bed55cc04816b9','intake','conversation','5','done',1795698701994950,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"conversation:5","due_us":null}]',1795698701489181,1795698701994950);
INSERT INTO "job" VALUES(8,'01bed55cc04816b9','match','match','group:r1','done',1795698701644939,NULL,NULL,1,0,0,'','','[{"kind":"call","key":"3","due_us":null}]',1795698701637722,1795698701644939);
INSERT INTO "job" VALUES(9,'01bed55cc04816b9','crm','call','3','done',1795698703428343,NULL,NULL,1,0,0,'','','[]',1795698701644939,1795698703428343);
INSERT INTO "job" VALUES(10,'01bed55cc04816b9','match','match','conversation:5','done',1795698702010836,NULL,NULL,1,0,0,'','','[{"kind":"call","key":"5","due_us":null}]',1795698701994950,1795698702010836);
INSERT INTO "job" VALUES(11,'01bed55cc04816b9','match','match','group:r4','done',1795698702010836,NULL,NULL,1,0,0,'','','[]',1795698701995453,1795698702010836);
INSERT INTO "job" VALUES(12,'01bed55cc04816b9','crm','call','5','done',1795698703429909,NULL,NULL,1,0,0,'','','[]',1795698702010836,1795698703429909);
INSERT INTO "job" VALUES(13,'01bed55cc04816b9','intake','conversation','6','done',1795698703956108,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"conversation:6","due_us":null}]',1795698703897094,1795698703956108);
INSERT INTO "job" VALUES(14,'01bed55cc04816b9','intake','recording','7','done',1795698704012639,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"group:r7","due_us":null}]',1795698703916810,1795698704012639);
INSERT INTO "job" VALUES(15,'01bed55cc04816b9','match','match','conversation:6','waiting',1795698705988568,NULL,NULL,1,0,0,'waits for its recording until 2026-11-26T13:21:43Z','','[]',1795698703956108,1795698703988568);
INSERT INTO "job" VALUES(16,'01bed55cc04816b9','match','match','group:r7','done',1795698704024487,NULL,NULL,1,0,0,'','','[{"kind":"call","key":"6","due_us":null}]',1795698704012639,1795698704024487);
INSERT INTO "job" VALUES(17,'01bed55cc04816b9','crm','call','6','parked',1795698704153622,NULL,NULL,1,0,0,'answered 413: file too large','callspool retry c6','[]',1795698704024487,1795698704153622);
INSERT INTO "job" VALUES(18,'01bed55cc04816b9','intake','conversation','8','done',1795698704278746,NULL,NULL,1,0,0,'','','[{"kind":"match","key":"conversation:8","due_us":null}]',1795698704228578,1795698704278746);
INSERT INTO "job" VALUES(19,'01bed55cc04816b9','match','match','conversation:8','waiting',1795699304228000,NULL,NULL,1,0,0,'waits for its recording until 2026-11-26T13:21:44Z','','[]',1795698704278746,1795698704323812);
CREATE TABLE job_effect (
  job_id      INTEGER NOT NULL REFERENCES job (id),
  position    INTEGER NOT NULL CHECK (position >= 0),
  effect_key  TEXT NOT NULL REFERENCES effect (key),
  PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
INSERT INTO "job_effect" VALUES(9,1,'crm.call:CALL-20251029-064824-50100:ff1f9b90a969601a145a');
INSERT INTO "job_effect" VALUES(12,1,'crm.call:CALL-20251029-065824-50101:bcf1d2a7c43ccd026977');
INSERT INTO "job_effect" VALUES(17,1,'crm.call:CALL-20251029-070824-50102:a58207a9a1774defd50d');
INSERT INTO "job_effect" VALUES(12,0,'crm.upload:0afacad637dfb48d7b499281ea086ea82bd4ac5c3312332cd8dc694508aae50a:number-_12025550101-1761721104.ogg:622bf863adf3cf6f44ce');
INSERT INTO "job_effect" VALUES(17,0,'crm.upload:5235a9a69d6ca10ad57da5c58a4e038294107b02b5ad2076399f54482e95c52e:number-_12025550102-1761721704.ogg:23013c0f91d28ef30288');
INSERT INTO "job_effect" VALUES(9,0,'crm.upload:d3639d5e48ac1b3bdd87de83b6e1816832ba078ae2d6a9011f98abc26b070d9a:number-_12025550100-1761720504.ogg:e8a05b0f8354310d6a2c');
INSERT INTO "job_effect" VALUES(9,2,'marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T06-48-28.123000.json.uploaded:b30f1460d9a469e8c264');
INSERT INTO "job_effect" VALUES(12,2,'marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T06-58-28.123000.json.uploaded:13f1e218e0d3273fd123');
INSERT INTO "job_effect" VALUES(17,2,'marker.write:/srv/calls/processed_uploads/transcript_session_2025-10-29T07-08-28.123000.json.uploaded:b4f770cf886f4e444098');
CREATE TABLE journal (
  id       INTEGER PRIMARY KEY,
  host_id  TEXT NOT NULL,
  at_us    INTEGER NOT NULL,
  event    TEXT NOT NULL,
  level    TEXT NOT NULL,
  call_id  TEXT,
  item_id  INTEGER,
  fields   TEXT NOT NULL
) STRICT;
INSERT INTO "journal" VALUES(1,'01bed55cc04816b9',1795698699684488,'root.watched','info',NULL,NULL,'{"role":"recordings","reason":""}');
INSERT INTO "journal" VALUES(2,'01bed55cc04816b9',1795698699694854,'root.watched','info',NULL,NULL,'{"role":"conversations","reason":""}');
INSERT INTO "journal" VALUES(3,'01bed55cc04816b9',1795698699812385,'root.watched','info',NULL,NULL,'{"role":"leads","reason":""}');
INSERT INTO "journal" VALUES(4,'01bed55cc04816b9',1795698700622197,'file.settled','info',NULL,1,'{"item":1,"role":"recordings","path":"number-_12*****0100-1761720504.ogg","sha256":"d3639d5e48ac","size_bytes":16251,"reason":"no writer, complete","flags":[],"elapsed_s":0.131}');
INSERT INTO "journal" VALUES(5,'01bed55cc04816b9',1795698700647325,'file.settled','info',NULL,2,'{"item":2,"role":"leads","path":"leads_session_2025-10-29T06-48-28.123000.json","sha256":"95acd2149279","size_bytes":100,"reason":"no writer, complete","flags":[],"elapsed_s":0.121}');
INSERT INTO "journal" VALUES(6,'01bed55cc04816b9',1795698700647922,'file.settled','info',NULL,3,'{"item":3,"role":"conversations","path":"transcript_session_2025-10-29T06-48-28.123000.json","sha256":"477eba3fc218","size_bytes":439,"reason":"no writer, complete","flags":[],"elapsed_s":0.115}');
INSERT INTO "journal" VALUES(7,'01bed55cc04816b9',1795698700695335,'conversation.understood','info','c3',NULL,'{"call_id":"c3","size_bytes":439,"turns":2,"start_source":"field","number_known":false,"flags":[]}');
INSERT INTO "journal" VALUES(8,'01bed55cc04816b9',1795698700719454,'lead.understood','info',NULL,2,'{"item":"l2","size_bytes":100,"number_known":false,"flags":[]}');
INSERT INTO "journal" VALUES(9,'01bed55cc04816b9',1795698700728731,'lead.matched','info','c3',2,'{"call_id":"c3","subject":"l2","item":2,"reason":"stamp equal, taken +1.0 s"}');
INSERT INTO "journal" VALUES(10,'01bed55cc04816b9',1795698701488540,'file.settled','info',NULL,4,'{"item":4,"role":"recordings","path":"number-_12*****0101-1761721104.ogg","sha256":"0afacad637df","size_bytes":16251,"reason":"no writer, complete","flags":[],"elapsed_s":0.072}');
INSERT INTO "journal" VALUES(11,'01bed55cc04816b9',1795698701489181,'file.settled','info',NULL,5,'{"item":5,"role":"conversations","path":"transcript_session_2025-10-29T06-58-28.123000.json","sha256":"6f6c7859a09b","size_bytes":440,"reason":"no writer, complete","flags":[],"elapsed_s":0.072}');
INSERT INTO "journal" VALUES(12,'01bed55cc04816b9',1795698701637722,'recording.understood','info',NULL,1,'{"item":"r1","size_bytes":16251,"duration_s":3.0,"span_s":3.0,"container":"ogg","codec":"opus","side":"mixed","start_source":"name","flags":[]}');
INSERT INTO "journal" VALUES(13,'01bed55cc04816b9',1795698701644939,'call.matched','info','c3',1,'{"call_id":"c3","subject":"r1","item":1,"reason":"start -0.1 s, end -0.1 s"}');
INSERT INTO "journal" VALUES(14,'01bed55cc04816b9',1795698701994950,'conversation.understood','info','c5',NULL,'{"call_id":"c5","size_bytes":440,"turns":2,"start_source":"field","number_known":false,"flags":[]}');
INSERT INTO "journal" VALUES(15,'01bed55cc04816b9',1795698701995453,'recording.understood','info',NULL,4,'{"item":"r4","size_bytes":16251,"duration_s":3.0,"span_s":3.0,"container":"ogg","codec":"opus","side":"mixed","start_source":"name","flags":[]}');
INSERT INTO "journal" VALUES(16,'01bed55cc04816b9',1795698702010836,'call.matched','info','c5',4,'{"call_id":"c5","subject":"r4","item":4,"reason":"start -0.1 s, end -0.1 s"}');
INSERT INTO "journal" VALUES(17,'01bed55cc04816b9',1795698703357850,'crm.uploaded','info','c3',NULL,'{"kind":"call","call_id":"c3","dest":"crm","http_status":200,"elapsed_s":1.101,"size_bytes":16251,"sha256":"d3639d5e48ac"}');
INSERT INTO "journal" VALUES(18,'01bed55cc04816b9',1795698703376726,'crm.uploaded','info','c5',NULL,'{"kind":"call","call_id":"c5","dest":"crm","http_status":200,"elapsed_s":1.182,"size_bytes":16251,"sha256":"0afacad637df"}');
INSERT INTO "journal" VALUES(19,'01bed55cc04816b9',1795698703397565,'crm.accepted','info','c3',NULL,'{"kind":"call","call_id":"c3","dest":"crm","http_status":200,"elapsed_s":0.013,"size_bytes":911}');
INSERT INTO "journal" VALUES(20,'01bed55cc04816b9',1795698703413178,'crm.accepted','info','c5',NULL,'{"kind":"call","call_id":"c5","dest":"crm","http_status":200,"elapsed_s":0.009,"size_bytes":813}');
INSERT INTO "journal" VALUES(21,'01bed55cc04816b9',1795698703897094,'file.settled','info',NULL,6,'{"item":6,"role":"conversations","path":"transcript_session_2025-10-29T07-08-28.123000.json","sha256":"801893b1f8cd","size_bytes":440,"reason":"no writer, complete","flags":[],"elapsed_s":0.051}');
INSERT INTO "journal" VALUES(22,'01bed55cc04816b9',1795698703916810,'file.settled','info',NULL,7,'{"item":7,"role":"recordings","path":"number-_12*****0102-1761721704.ogg","sha256":"5235a9a69d6c","size_bytes":16251,"reason":"no writer, complete","flags":[],"elapsed_s":0.053}');
INSERT INTO "journal" VALUES(23,'01bed55cc04816b9',1795698703956108,'conversation.understood','info','c6',NULL,'{"call_id":"c6","size_bytes":440,"turns":2,"start_source":"field","number_known":false,"flags":[]}');
INSERT INTO "journal" VALUES(24,'01bed55cc04816b9',1795698704012639,'recording.understood','info',NULL,7,'{"item":"r7","size_bytes":16251,"duration_s":3.0,"span_s":3.0,"container":"ogg","codec":"opus","side":"mixed","start_source":"name","flags":[]}');
INSERT INTO "journal" VALUES(25,'01bed55cc04816b9',1795698704024487,'call.matched','info','c6',7,'{"call_id":"c6","subject":"r7","item":7,"reason":"start -0.1 s, end -0.1 s"}');
INSERT INTO "journal" VALUES(26,'01bed55cc04816b9',1795698704106823,'crm.uploaded','info','c6',NULL,'{"kind":"call","call_id":"c6","dest":"crm","http_status":200,"elapsed_s":0.006,"size_bytes":16251,"sha256":"5235a9a69d6c"}');
INSERT INTO "journal" VALUES(27,'01bed55cc04816b9',1795698704153622,'job.parked','warning','c6',NULL,'{"kind":"call","call_id":"c6","dest":"crm","reason":"answered 413: file too large","fix":"callspool retry c6","http_status":413}');
INSERT INTO "journal" VALUES(28,'01bed55cc04816b9',1795698704228578,'file.settled','info',NULL,8,'{"item":8,"role":"conversations","path":"transcript_session_2025-10-29T07-18-28.123000.json","sha256":"de743fa0c4a6","size_bytes":440,"reason":"no writer, complete","flags":[],"elapsed_s":0.06}');
INSERT INTO "journal" VALUES(29,'01bed55cc04816b9',1795698704278746,'conversation.understood','info','c8',NULL,'{"call_id":"c8","size_bytes":440,"turns":2,"start_source":"field","number_known":false,"flags":[]}');
CREATE TABLE lead (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  name           TEXT NOT NULL,
  document       TEXT NOT NULL,
  stamp_us       INTEGER,
  taken_us       INTEGER,
  session_id     TEXT,
  number         TEXT,
  registered_us  INTEGER NOT NULL,
  paired         INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1))   -- kept by the triggers on lead_pairing
) STRICT;
INSERT INTO "lead" VALUES(2,'leads_session_2025-10-29T06-48-28.123000.json','{"name":"A. Caller","email":"caller@crm.example","company":"Acme","interest":"quote","n":0}',1761720508123000,NULL,NULL,NULL,1795698700647325,1);
CREATE TABLE lead_pairing (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  lead_id          INTEGER NOT NULL UNIQUE REFERENCES lead (id),
  probability      REAL NOT NULL CHECK (probability BETWEEN 0 AND 1),
  reasons          TEXT NOT NULL,
  decided_by       TEXT NOT NULL CHECK (decided_by IN ('evidence', 'person')),
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL
) STRICT;
INSERT INTO "lead_pairing" VALUES(3,2,0.999999999225,'["stamp equal","taken +1.0 s"]','evidence','',1795698700728731);
CREATE TABLE lesson (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  recorder         TEXT NOT NULL,
  nth              INTEGER NOT NULL,
  by_mtime         INTEGER NOT NULL CHECK (by_mtime IN (0, 1)),
  start_anchor     TEXT CHECK (start_anchor IN ('field', 'session', 'item', 'name')),
  end_anchor       TEXT CHECK (end_anchor IN ('field', 'session', 'item', 'name')),
  start_ms         INTEGER,
  end_ms           INTEGER,
  length_ms        INTEGER,
  skew_ms          INTEGER,
  span_ms          INTEGER NOT NULL,
  UNIQUE (recorder, nth)
) STRICT;
INSERT INTO "lesson" VALUES(3,'number-_#.ogg',1,0,'field','field',-123,-123,NULL,NULL,3000);
INSERT INTO "lesson" VALUES(5,'number-_#.ogg',2,0,'field','field',-123,-123,NULL,NULL,3000);
INSERT INTO "lesson" VALUES(6,'number-_#.ogg',3,0,'field','field',-123,-123,NULL,NULL,3000);
CREATE TABLE meta (
  key    TEXT PRIMARY KEY,
  value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('begun_us','1795698698733569');
INSERT INTO "meta" VALUES('host_id','01bed55cc04816b9');
CREATE TABLE migration (source TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_us INTEGER NOT NULL, PRIMARY KEY (source, number)) STRICT, WITHOUT ROWID;
INSERT INTO "migration" VALUES('daemon.ledger.migrations',1,'initial','300abd1f7f12b359239bb084d46abf7bb5777ae05e9af64ea4cbe306c17240fe',1795698698555850);
INSERT INTO "migration" VALUES('handlers.migrations',1,'initial','56101253afc7c3d9dd34f6d4dc2a9d4d0d11fe4d91e29ff0434c4068d32fda74',1795698698555850);
INSERT INTO "migration" VALUES('handlers.migrations',2,'turns_and_offsets','3975a52b84e9f5a01c02b936d7241dcbc67457bca98a7bc8708f58cca6bde905',1795698698555850);
CREATE TABLE old_marker (
  transcript     TEXT PRIMARY KEY,             -- transcript file name
  delivered      INTEGER NOT NULL CHECK (delivered IN (0, 1)),
  recording_url  TEXT,
  document       TEXT NOT NULL
) STRICT;
CREATE TABLE pairing (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  group_key        TEXT NOT NULL UNIQUE,
  probability      REAL NOT NULL CHECK (probability BETWEEN 0 AND 1),
  reasons          TEXT NOT NULL,
  decided_by       TEXT NOT NULL CHECK (decided_by IN ('evidence', 'person')),
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL
) STRICT;
INSERT INTO "pairing" VALUES(3,'r1',0.9999267,'["start -0.1 s","end -0.1 s"]','evidence','',1795698701644939);
INSERT INTO "pairing" VALUES(5,'r4',0.9999267,'["start -0.1 s","end -0.1 s"]','evidence','',1795698702010836);
INSERT INTO "pairing" VALUES(6,'r7',0.9999267,'["start -0.1 s","end -0.1 s"]','evidence','',1795698704024487);
CREATE TABLE person_spoke (
  conversation_id  INTEGER PRIMARY KEY REFERENCES conversation (id),
  at_us            INTEGER NOT NULL
) STRICT;
CREATE TABLE recording (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  group_key      TEXT NOT NULL,             -- the sides of one conversation share it; else 'r<id>'
  side           TEXT NOT NULL CHECK (side IN ('mixed', 'agent', 'customer')),
  name           TEXT NOT NULL,
  size           INTEGER NOT NULL CHECK (size > 0),
  container      TEXT NOT NULL,
  codec          TEXT NOT NULL,
  sample_rate    INTEGER NOT NULL,
  channels       INTEGER NOT NULL,
  media_s        REAL NOT NULL CHECK (media_s >= 0),
  span_s         REAL NOT NULL CHECK (span_s >= 0),
  header_s       REAL,
  audio_start_us INTEGER,                    -- the container's own clock
  audio_flags    TEXT NOT NULL DEFAULT '[]',
  start_us       INTEGER,
  start_source   TEXT,
  end_us         INTEGER,
  number         TEXT,
  session_id     TEXT,
  call_ref       TEXT,
  stamp_us       INTEGER,
  flags          TEXT NOT NULL DEFAULT '[]',
  registered_us  INTEGER NOT NULL,
  paired         INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1)), speech TEXT, heard_s REAL NOT NULL DEFAULT 0, recorder TEXT NOT NULL DEFAULT '',  -- kept by the triggers on pairing
  CHECK ((start_us IS NULL) = (start_source IS NULL))
) STRICT;
INSERT INTO "recording" VALUES(1,'r1','mixed','number-_12025550100-1761720504.ogg',16251,'ogg','opus',48000,1,3.0,3.0,NULL,NULL,'[]',1761720504000000,'name',1761720507000000,'+12025550100',NULL,NULL,NULL,'[]',1795698700622197,1,NULL,3.0,'number-_#.ogg');
INSERT INTO "recording" VALUES(4,'r4','mixed','number-_12025550101-1761721104.ogg',16251,'ogg','opus',48000,1,3.0,3.0,NULL,NULL,'[]',1761721104000000,'name',1761721107000000,'+12025550101',NULL,NULL,NULL,'[]',1795698701488540,1,NULL,3.0,'number-_#.ogg');
INSERT INTO "recording" VALUES(7,'r7','mixed','number-_12025550102-1761721704.ogg',16251,'ogg','opus',48000,1,3.0,3.0,NULL,NULL,'[]',1761721704000000,'name',1761721707000000,'+12025550102',NULL,NULL,NULL,'[]',1795698703916810,1,NULL,3.0,'number-_#.ogg');
CREATE TABLE refusal (
  conversation_id  INTEGER NOT NULL REFERENCES conversation (id),
  partner          TEXT NOT NULL,              -- a group_key, or 'l<id>' for a lead
  why              TEXT NOT NULL DEFAULT '',
  decided_us       INTEGER NOT NULL,
  PRIMARY KEY (conversation_id, partner)
) STRICT, WITHOUT ROWID;
CREATE TABLE root (
  id             INTEGER PRIMARY KEY,
  host_id        TEXT NOT NULL,
  role           TEXT NOT NULL,
  path           BLOB NOT NULL,
  registered_ns  INTEGER NOT NULL,
  adopted_ns     INTEGER NOT NULL DEFAULT 0,
  state          TEXT NOT NULL DEFAULT 'waiting_for_root'
                 CHECK (state IN ('waiting_for_root', 'watching', 'polling', 'degraded')),
  reason         TEXT NOT NULL DEFAULT '',
  changed_us     INTEGER NOT NULL,
  UNIQUE (role, path)
) STRICT;
INSERT INTO "root" VALUES(1,'01bed55cc04816b9','recordings',X'2F7372762F63616C6C732F7265636F7264696E6773',1795698699527740000,0,'watching','',1795698699684488);
INSERT INTO "root" VALUES(2,'01bed55cc04816b9','conversations',X'2F7372762F63616C6C732F636F6E766572736174696F6E73',1795698699527740000,0,'watching','',1795698699694854);
INSERT INTO "root" VALUES(3,'01bed55cc04816b9','leads',X'2F7372762F63616C6C732F6C65616473',1795698699527740000,0,'watching','',1795698699812385);
CREATE TABLE sidecar (
  id             INTEGER PRIMARY KEY REFERENCES item (id),
  stem           TEXT NOT NULL,               -- path without .json, as its recording's path without suffix
  document       TEXT NOT NULL,
  registered_us  INTEGER NOT NULL
) STRICT;
CREATE TABLE suspected_shift (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  shift_ms    INTEGER NOT NULL,
  calls       INTEGER NOT NULL,
  noticed_us  INTEGER NOT NULL
) STRICT;
CREATE TABLE verdict (
  conversation_id    INTEGER PRIMARY KEY REFERENCES conversation (id),
  recording          TEXT NOT NULL CHECK (recording IN ('waiting', 'matched', 'ambiguous', 'alone')),
  recording_until_us INTEGER NOT NULL,         -- when waiting ends
  lead               TEXT NOT NULL CHECK (lead IN ('waiting', 'matched', 'ambiguous', 'none')),
  lead_until_us      INTEGER NOT NULL,
  ready              INTEGER NOT NULL CHECK (ready IN (0, 1)),   -- may it be delivered as it stands?
  explanation        TEXT NOT NULL,            -- JSON: candidates with their terms
  decided_us         INTEGER NOT NULL
, disputed INTEGER NOT NULL DEFAULT 0 CHECK (disputed IN (0, 1))) STRICT;
INSERT INTO "verdict" VALUES(3,'matched',1795699300622197,'matched',1795698701647000,1,'{"recording":{"state":"matched","settled":true,"partner":"r1","probability":0.9999267,"reasons":["start -0.1 s","end -0.1 s"],"alone":7.33e-05,"candidates":[{"recording":"r1","probability":0.9999267,"terms":[{"name":"start","says":"fits","weight":2.26,"seconds":-0.123,"expected_s":-1.312,"spread_s":2.0},{"name":"end","says":"fits","weight":1.61,"seconds":-0.123,"expected_s":1.438,"spread_s":4.188}]}],"separated_by":"nothing else is near","recordings":["r1"]},"lead":{"state":"matched","settled":true,"partner":"l2","probability":0.999999999225,"reasons":["stamp equal","taken +1.0 s"],"alone":7.75e-10,"candidates":[{"lead":"l2","probability":0.999999999225,"terms":[{"name":"stamp","says":"equal","weight":7.0},{"name":"taken","says":"fits","weight":1.54,"seconds":1.0,"expected_s":-6.0,"spread_s":8.0}]}],"separated_by":"nothing else is near"}}',1795698701644939,0);
INSERT INTO "verdict" VALUES(5,'matched',1795699301488540,'none',1795698702489000,1,'{"recording":{"state":"matched","settled":true,"partner":"r4","probability":0.9999267,"reasons":["start -0.1 s","end -0.1 s"],"alone":7.33e-05,"candidates":[{"recording":"r4","probability":0.9999267,"terms":[{"name":"start","says":"fits","weight":2.26,"seconds":-0.123,"expected_s":-1.312,"spread_s":2.0},{"name":"end","says":"fits","weight":1.61,"seconds":-0.123,"expected_s":1.438,"spread_s":4.188}]}],"separated_by":"nothing else is near","recordings":["r4"]},"lead":{"state":"none","settled":true,"partner":null,"probability":0.0,"reasons":[],"alone":1.0,"candidates":[]}}',1795698702010836,0);
INSERT INTO "verdict" VALUES(6,'matched',1795699303916810,'none',1795698704897000,1,'{"recording":{"state":"matched","settled":true,"partner":"r7","probability":0.9999267,"reasons":["start -0.1 s","end -0.1 s"],"alone":7.33e-05,"candidates":[{"recording":"r7","probability":0.9999267,"terms":[{"name":"start","says":"fits","weight":2.26,"seconds":-0.123,"expected_s":-1.312,"spread_s":2.0},{"name":"end","says":"fits","weight":1.61,"seconds":-0.123,"expected_s":1.438,"spread_s":4.188}]}],"separated_by":"nothing else is near","recordings":["r7"]},"lead":{"state":"none","settled":true,"partner":null,"probability":0.0,"reasons":[],"alone":1.0,"candidates":[]}}',1795698704024487,0);
INSERT INTO "verdict" VALUES(8,'waiting',1795699304228000,'none',1795698705228000,0,'{"recording":{"state":"waiting","settled":false,"partner":null,"probability":0.0,"reasons":[],"alone":1.0,"candidates":[]},"lead":{"state":"none","settled":true,"partner":null,"probability":0.0,"reasons":[],"alone":1.0,"candidates":[]}}',1795698704323812,0);
CREATE INDEX item_by_path ON item (path);
CREATE INDEX item_by_name ON item (name);
CREATE INDEX item_by_replaced ON item (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX file_by_item ON file (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX file_not_known ON file (state) WHERE state != 'known';
CREATE INDEX file_old ON file (ino) WHERE state = 'old';
CREATE INDEX former_file_old ON former_file (old_ino) WHERE old_ino IS NOT NULL;
CREATE INDEX former_file_by_name ON former_file (folder_id, name);
CREATE INDEX former_file_by_item ON former_file (item_id) WHERE item_id IS NOT NULL;
CREATE INDEX job_ready ON job (lane, id) WHERE state = 'ready';
CREATE INDEX job_waiting ON job (lane, due_us) WHERE state = 'waiting';
CREATE INDEX job_waits_for ON job (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX job_lacks ON job (lacks) WHERE lacks IS NOT NULL;
CREATE INDEX job_parked ON job (kind) WHERE state = 'parked';
CREATE INDEX job_running ON job (lane) WHERE state = 'running';
CREATE INDEX effect_by_identity ON effect (type, identity);
CREATE INDEX effect_open ON effect (state) WHERE state IN ('pending', 'in_flight', 'in_doubt', 'parked');
CREATE INDEX job_effect_by_effect ON job_effect (effect_key);
CREATE INDEX answer_by_effect ON answer (effect_key);
CREATE INDEX journal_by_call ON journal (call_id, id) WHERE call_id IS NOT NULL;
CREATE INDEX journal_by_item ON journal (item_id, id) WHERE item_id IS NOT NULL;
CREATE TRIGGER journal_is_append_only_update BEFORE UPDATE ON journal BEGIN
  SELECT RAISE(ABORT, 'the journal is append-only');
END;
CREATE TRIGGER journal_is_append_only_delete BEFORE DELETE ON journal BEGIN
  SELECT RAISE(ABORT, 'the journal is append-only');
END;
CREATE INDEX recording_by_group ON recording (group_key);
CREATE INDEX recording_by_start ON recording (start_us);
CREATE INDEX recording_by_end ON recording (end_us);
CREATE INDEX recording_by_session ON recording (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX recording_by_call_ref ON recording (call_ref) WHERE call_ref IS NOT NULL;
CREATE INDEX recording_by_stamp ON recording (stamp_us) WHERE stamp_us IS NOT NULL;
CREATE INDEX recording_by_number ON recording (number) WHERE number IS NOT NULL;
CREATE INDEX recording_by_lone_end ON recording (end_us) WHERE coalesce(start_source, 'file') = 'file';
CREATE INDEX recording_by_name ON recording (name);
CREATE INDEX recording_open ON recording (registered_us) WHERE paired = 0;
CREATE INDEX conversation_by_start ON conversation (start_us);
CREATE INDEX conversation_by_end ON conversation (end_us);
CREATE INDEX conversation_by_session ON conversation (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX conversation_by_call_ref ON conversation (call_ref) WHERE call_ref IS NOT NULL;
CREATE INDEX conversation_by_saved ON conversation (saved_us) WHERE saved_us IS NOT NULL;
CREATE INDEX conversation_by_session_time ON conversation (session_us) WHERE session_us IS NOT NULL;
CREATE INDEX conversation_by_room ON conversation (room) WHERE room IS NOT NULL;
CREATE INDEX conversation_by_number ON conversation (number) WHERE number IS NOT NULL;
CREATE INDEX conversation_by_lone_end ON conversation (end_us) WHERE coalesce(start_source, 'name') = 'name';
CREATE INDEX conversation_by_lone_saved ON conversation (saved_us) WHERE coalesce(start_source, 'name') = 'name';
CREATE INDEX conversation_by_name ON conversation (name);
CREATE INDEX lead_by_stamp ON lead (stamp_us) WHERE stamp_us IS NOT NULL;
CREATE INDEX lead_by_taken ON lead (taken_us) WHERE taken_us IS NOT NULL;
CREATE INDEX lead_by_session ON lead (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX lead_by_number ON lead (number) WHERE number IS NOT NULL;
CREATE INDEX lead_by_name ON lead (name);
CREATE INDEX lead_open ON lead (registered_us) WHERE paired = 0;
CREATE INDEX chunk_by_session ON chunk (session, chunk_index);
CREATE INDEX sidecar_by_stem ON sidecar (stem);
CREATE INDEX verdict_states ON verdict (recording, lead, ready);
CREATE INDEX verdict_open ON verdict (ready) WHERE recording IN ('waiting', 'ambiguous') OR lead IN ('waiting', 'ambiguous');
CREATE TRIGGER pairing_made AFTER INSERT ON pairing BEGIN
  UPDATE recording SET paired = 1 WHERE group_key = new.group_key;
END;
CREATE TRIGGER pairing_undone AFTER DELETE ON pairing BEGIN
  UPDATE recording SET paired = 0 WHERE group_key = old.group_key;
END;
CREATE TRIGGER lead_pairing_made AFTER INSERT ON lead_pairing BEGIN
  UPDATE lead SET paired = 1 WHERE id = new.lead_id;
END;
CREATE TRIGGER lead_pairing_undone AFTER DELETE ON lead_pairing BEGIN
  UPDATE lead SET paired = 0 WHERE id = old.lead_id;
END;
CREATE INDEX call_by_delivery ON call (spoken_for, delivered_us);
CREATE INDEX lead_by_moment ON lead (coalesce(taken_us, stamp_us));
CREATE TRIGGER lesson_unlearned AFTER DELETE ON pairing BEGIN
  DELETE FROM lesson WHERE conversation_id = old.conversation_id;
END;
CREATE INDEX verdict_disputed ON verdict (conversation_id) WHERE disputed = 1;
CREATE INDEX recording_by_guessed_start ON recording (start_us) WHERE coalesce(start_source, 'file') = 'file';
COMMIT;
