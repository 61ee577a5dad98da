-- A journal of schema 5: every table, a row of each kind.
PRAGMA application_id=1415005255;
PRAGMA user_version=5;
BEGIN TRANSACTION;
CREATE TABLE baseline (
  kpi TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL, value REAL NOT NULL, t INTEGER NOT NULL,
  samples INTEGER NOT NULL, span INTEGER NOT NULL, who TEXT NOT NULL, revision TEXT,
  PRIMARY KEY (kpi, kind)
) WITHOUT ROWID;
INSERT INTO "baseline" VALUES('latency','learned','digest',20.5,1700000000000,40,3600000,'','0123abcd');
CREATE TABLE baseline_point (
  kpi TEXT NOT NULL, asked TEXT NOT NULL, t INTEGER NOT NULL, v REAL NOT NULL,
  PRIMARY KEY (kpi, t)
) WITHOUT ROWID
;
INSERT INTO "baseline_point" VALUES('latency','digest',1700000000000,20.0);
INSERT INTO "baseline_point" VALUES('latency','digest',1700000000005,21.0);
CREATE TABLE event (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, incident INTEGER, run INTEGER, target TEXT, kind TEXT NOT NULL,
  text TEXT NOT NULL
);
INSERT INTO "event" VALUES(1,1700000000000,1,NULL,'bot','tripped','flapping (crit) tripped: 15 %');
CREATE TABLE incident (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, opened INTEGER NOT NULL, closed INTEGER,
  severity TEXT NOT NULL, title TEXT NOT NULL
, acked INTEGER, acked_by TEXT);
INSERT INTO "incident" VALUES(1,'bot',1700000000000,NULL,'crit','flapping: 15 %',1700000000005,'anna');
CREATE TABLE machine (
  rule TEXT NOT NULL, level TEXT NOT NULL, labels TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (rule, level, labels)
) WITHOUT ROWID;
INSERT INTO "machine" VALUES('flapping','crit','[["pair","BTC"]]','{"phase":"firing","recent":[true]}');
CREATE TABLE message (
  id INTEGER PRIMARY KEY, incident INTEGER, channel TEXT NOT NULL, severity TEXT NOT NULL, title TEXT NOT NULL,
  lines TEXT NOT NULL, created INTEGER NOT NULL, next_try INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  sent INTEGER, failed INTEGER, handle TEXT, error TEXT
);
INSERT INTO "message" VALUES(1,1,'chat','crit','bot: flapping tripped','["15 %","– ✓"]',1700000000000,1700000000000,0,1700000000002,NULL,'1700.1',NULL);
INSERT INTO "message" VALUES(2,1,'mail','crit','bot: flapping tripped','["15 %","– ✓"]',1700000000000,1700000000060,1,NULL,NULL,NULL,'busy');
CREATE TABLE peak (
  series TEXT NOT NULL, side TEXT NOT NULL, hour INTEGER NOT NULL, t INTEGER NOT NULL, v REAL NOT NULL,
  PRIMARY KEY (series, side, hour)
) WITHOUT ROWID
;
INSERT INTO "peak" VALUES('{"__name__":"equity","source":"bot"}','max',472222,1700000000000,1200.0);
CREATE TABLE request (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, kind TEXT NOT NULL, args TEXT NOT NULL, by TEXT NOT NULL,
  answered INTEGER, answer TEXT, ok INTEGER
);
INSERT INTO "request" VALUES(1,1700000000003,'resume','{"reason":"fixed","target":"bot"}','anna',1700000000004,'its data is stale',0);
INSERT INTO "request" VALUES(2,1700000000005,'abort','{"what":"bot"}','ben',NULL,NULL,NULL);
CREATE TABLE run (
  id INTEGER PRIMARY KEY, incident INTEGER REFERENCES incident, target TEXT NOT NULL, plan TEXT NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL, place TEXT NOT NULL, by TEXT NOT NULL,
  status TEXT NOT NULL, outcome TEXT, reason TEXT NOT NULL DEFAULT '',
  level INTEGER NOT NULL DEFAULT 0, acted INTEGER NOT NULL DEFAULT 0,
  queued INTEGER NOT NULL, ended INTEGER, watch_until INTEGER
, part TEXT NOT NULL DEFAULT 'ladder', approval TEXT, approve_by INTEGER, abort TEXT, marks TEXT);
INSERT INTO "run" VALUES(1,1,'bot','ladder','repair','{"kind":"repair"}','{"unit":"bot.service"}','rule flapping','ended','proven','quiet',1,1700000000020,1700000000001,1700000000030,1700000000029,'ladder','approved',1700000000009,NULL,'{"began":{"size":1},"row":"level 1"}');
CREATE TABLE saved (
  run INTEGER NOT NULL REFERENCES run, phase TEXT NOT NULL, level INTEGER NOT NULL, path TEXT NOT NULL,
  was TEXT NOT NULL, copy TEXT, now TEXT, undone INTEGER,
  PRIMARY KEY (run, phase, level, path)
) WITHOUT ROWID
;
INSERT INTO "saved" VALUES(1,'level',1,'/srv/config.py','{"kind":"file","sha":"aa"}','/state/backups/1','{"kind":"file","sha":"bb"}',NULL);
CREATE TABLE stay (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, t INTEGER NOT NULL, until INTEGER NOT NULL,
  who TEXT NOT NULL, halts INTEGER NOT NULL DEFAULT 0, until_well INTEGER NOT NULL DEFAULT 0, ended INTEGER
);
INSERT INTO "stay" VALUES(1,'hold','bot',1700000000000,1700000001000,'ann: exchange',1,0,NULL);
INSERT INTO "stay" VALUES(2,'silence','flapping',1700000000000,1700000002000,'ben: noise',0,1,NULL);
CREATE TABLE step (
  run INTEGER NOT NULL REFERENCES run, phase TEXT NOT NULL, level INTEGER NOT NULL, n INTEGER NOT NULL,
  say TEXT NOT NULL, status TEXT NOT NULL, before TEXT, detail TEXT NOT NULL DEFAULT '',
  started INTEGER, ended INTEGER, child_pid INTEGER, child_started REAL, tries INTEGER NOT NULL DEFAULT 1, diff TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (run, phase, level, n)
) WITHOUT ROWID;
INSERT INTO "step" VALUES(1,'level',1,0,'set A = 1','done','{"file":"config.py"}','it is so',1700000000010,1700000000020,4711,12.5,2,'-A = 2
+A = 1');
CREATE TABLE target (
  name TEXT PRIMARY KEY, epoch INTEGER NOT NULL,
  latched INTEGER, latch_why TEXT,
  head TEXT, invocation TEXT, unsettled INTEGER, quiet_for INTEGER NOT NULL DEFAULT 0
, place TEXT) WITHOUT ROWID;
INSERT INTO "target" VALUES('bot',1700000000000,1700000000090,'ladder stopped','0123abcd','i1',1699999999995,7,'{"unit":"bot.service"}');
CREATE TABLE trip (
  incident INTEGER NOT NULL REFERENCES incident, rule TEXT NOT NULL, level TEXT NOT NULL, labels TEXT NOT NULL,
  t INTEGER NOT NULL, cleared INTEGER, reason TEXT NOT NULL, plan TEXT
);
INSERT INTO "trip" VALUES(1,'flapping','crit','[["pair","BTC"]]',1700000000000,NULL,'15 % of 20','ladder');
CREATE UNIQUE INDEX one_open_incident ON incident (target) WHERE closed IS NULL;
CREATE INDEX trip_of ON trip (incident);
CREATE INDEX run_of ON run (target, status);
CREATE INDEX event_of ON event (incident);
CREATE INDEX message_due ON message (next_try) WHERE sent IS NULL AND failed IS NULL;
CREATE INDEX stay_of ON stay (subject) WHERE ended IS NULL;
COMMIT;
