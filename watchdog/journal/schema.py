"""The tables of journal.db, as the steps that lead to them: a new journal takes all of them, an old one those it lacks."""

APPLICATION_ID = 0x54574447  # "TWDG": a stranger's database is never written to

_INITIAL = """
CREATE TABLE machine (
  rule TEXT NOT NULL, level TEXT NOT NULL, labels TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (rule, level, labels)
) WITHOUT ROWID;
CREATE TABLE target (
  name TEXT PRIMARY KEY, epoch INTEGER NOT NULL,
  latched INTEGER, latch_why TEXT,
  head TEXT, invocation TEXT, unsettled INTEGER, quiet_for INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE incident (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, opened INTEGER NOT NULL, closed INTEGER,
  severity TEXT NOT NULL, title TEXT NOT NULL
);
CREATE UNIQUE INDEX one_open_incident ON incident (target) WHERE closed IS NULL;
CREATE TABLE trip (
  incident INTEGER NOT NULL REFERENCES incident, rule TEXT NOT NULL, level TEXT NOT NULL, labels TEXT NOT NULL,
  t INTEGER NOT NULL, cleared INTEGER, reason TEXT NOT NULL, plan TEXT
);
CREATE INDEX trip_of ON trip (incident);
CREATE TABLE run (
  id INTEGER PRIMARY KEY, incident INTEGER REFERENCES incident, target TEXT NOT NULL, plan TEXT NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL, place TEXT NOT NULL, by TEXT NOT NULL,
  status TEXT NOT NULL, outcome TEXT, reason TEXT NOT NULL DEFAULT '',
  level INTEGER NOT NULL DEFAULT 0, acted INTEGER NOT NULL DEFAULT 0,
  queued INTEGER NOT NULL, ended INTEGER, watch_until INTEGER
);
CREATE INDEX run_of ON run (target, status);
CREATE TABLE step (
  run INTEGER NOT NULL REFERENCES run, phase TEXT NOT NULL, level INTEGER NOT NULL, n INTEGER NOT NULL,
  say TEXT NOT NULL, status TEXT NOT NULL, before TEXT, detail TEXT NOT NULL DEFAULT '',
  started INTEGER, ended INTEGER, child_pid INTEGER, child_started REAL,
  PRIMARY KEY (run, phase, level, n)
) WITHOUT ROWID;
CREATE TABLE event (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, incident INTEGER, run INTEGER, target TEXT, kind TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX event_of ON event (incident);
CREATE TABLE message (
  id INTEGER PRIMARY KEY, incident INTEGER, channel TEXT NOT NULL, severity TEXT NOT NULL, title TEXT NOT NULL,
  lines TEXT NOT NULL, created INTEGER NOT NULL, next_try INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  sent INTEGER, failed INTEGER, handle TEXT, error TEXT
);
CREATE INDEX message_due ON message (next_try) WHERE sent IS NULL AND failed IS NULL;
CREATE TABLE request (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, kind TEXT NOT NULL, args TEXT NOT NULL, by TEXT NOT NULL,
  answered INTEGER, answer TEXT, ok INTEGER
);
CREATE TABLE peak (
  series TEXT NOT NULL, side TEXT NOT NULL, hour INTEGER NOT NULL, t INTEGER NOT NULL, v REAL NOT NULL,
  PRIMARY KEY (series, side, hour)
) WITHOUT ROWID
"""

_APPROVALS_AND_UNDO = """
ALTER TABLE run ADD COLUMN part TEXT NOT NULL DEFAULT 'ladder';
ALTER TABLE run ADD COLUMN approval TEXT;
ALTER TABLE run ADD COLUMN approve_by INTEGER;
ALTER TABLE run ADD COLUMN abort TEXT;
ALTER TABLE run ADD COLUMN marks TEXT;
ALTER TABLE step ADD COLUMN tries INTEGER NOT NULL DEFAULT 1;
ALTER TABLE incident ADD COLUMN acked INTEGER;
ALTER TABLE incident ADD COLUMN acked_by TEXT;
CREATE TABLE stay (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, t INTEGER NOT NULL, until INTEGER NOT NULL,
  who TEXT NOT NULL, halts INTEGER NOT NULL DEFAULT 0, until_well INTEGER NOT NULL DEFAULT 0, ended INTEGER
);
CREATE INDEX stay_of ON stay (subject) WHERE ended IS NULL;
CREATE TABLE saved (
  run INTEGER NOT NULL REFERENCES run, phase TEXT NOT NULL, level INTEGER NOT NULL, path TEXT NOT NULL,
  was TEXT NOT NULL, copy TEXT, now TEXT, undone INTEGER,
  PRIMARY KEY (run, phase, level, path)
) WITHOUT ROWID
"""

_STEP_DIFF = """
ALTER TABLE step ADD COLUMN diff TEXT NOT NULL DEFAULT ''
"""

_BASELINES = """
CREATE TABLE baseline (
  kpi TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL, value REAL NOT NULL, t INTEGER NOT NULL,
  samples INTEGER NOT NULL, span INTEGER NOT NULL, who TEXT NOT NULL, revision TEXT,
  PRIMARY KEY (kpi, kind)
) WITHOUT ROWID;
CREATE TABLE baseline_point (
  kpi TEXT NOT NULL, asked TEXT NOT NULL, t INTEGER NOT NULL, v REAL NOT NULL,
  PRIMARY KEY (kpi, t)
) WITHOUT ROWID
"""

_TARGET_LOCATION = """
ALTER TABLE target ADD COLUMN place TEXT
"""

# One rule may speak for several targets, each of which has machines and baselines of its own. Whose those are that stand
# there, the next start finds out: it knows which target each rule speaks for. Columns of a key stand first, in its order: SQLite's
# own check takes others for damage.
_STATE_PER_TARGET = """
ALTER TABLE machine RENAME TO machine_of_one;
CREATE TABLE machine (
  rule TEXT NOT NULL, level TEXT NOT NULL, labels TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (rule, level, labels, target)
) WITHOUT ROWID;
INSERT INTO machine SELECT rule, level, labels, '', state FROM machine_of_one;
DROP TABLE machine_of_one;
ALTER TABLE baseline RENAME TO baseline_of_one;
CREATE TABLE baseline (
  kpi TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, asked TEXT NOT NULL, value REAL NOT NULL,
  t INTEGER NOT NULL, samples INTEGER NOT NULL, span INTEGER NOT NULL, who TEXT NOT NULL, revision TEXT,
  PRIMARY KEY (kpi, target, kind)
) WITHOUT ROWID;
INSERT INTO baseline SELECT kpi, '', kind, asked, value, t, samples, span, who, revision FROM baseline_of_one;
DROP TABLE baseline_of_one;
ALTER TABLE baseline_point RENAME TO baseline_point_of_one;
CREATE TABLE baseline_point (
  kpi TEXT NOT NULL, target TEXT NOT NULL, t INTEGER NOT NULL, asked TEXT NOT NULL, v REAL NOT NULL,
  PRIMARY KEY (kpi, target, t)
) WITHOUT ROWID;
INSERT INTO baseline_point SELECT kpi, '', t, asked, v FROM baseline_point_of_one;
DROP TABLE baseline_point_of_one
"""

_PROVENANCE = """
CREATE TABLE configuration (
  id INTEGER PRIMARY KEY CHECK (id = 1), path TEXT NOT NULL, t INTEGER NOT NULL
);
CREATE TABLE delivered (
  source TEXT NOT NULL, metric TEXT NOT NULL, t INTEGER NOT NULL,
  PRIMARY KEY (source, metric)
) WITHOUT ROWID
"""

# What an older version told of incidents that are open, and of latches, is known by whom it told.
_TOLD = """
ALTER TABLE message ADD COLUMN broadcast INTEGER NOT NULL DEFAULT 0;
UPDATE message SET broadcast = severity = 'crit';
CREATE TABLE told (channel TEXT NOT NULL, topic TEXT NOT NULL, PRIMARY KEY (channel, topic)) WITHOUT ROWID;
INSERT INTO told SELECT DISTINCT m.channel, 'incident ' || m.incident FROM message m JOIN incident i ON i.id = m.incident
  WHERE i.closed IS NULL AND m.severity != 'info';
INSERT INTO told SELECT DISTINCT m.channel, 'latch of ' || i.target FROM message m JOIN incident i ON i.id = m.incident
  JOIN target t ON t.name = i.target WHERE t.latched IS NOT NULL AND m.created >= t.latched AND m.severity != 'info'
"""

_WATCHED = """
CREATE TABLE watched (
  id INTEGER PRIMARY KEY CHECK (id = 1), inventory TEXT NOT NULL, t INTEGER NOT NULL
)
"""

# What is critical goes ahead of the rest (`lane` 0). What an older version gave up was told then, as far as it was told at all.
_LATE_MESSAGES = """
ALTER TABLE message ADD COLUMN lane INTEGER NOT NULL DEFAULT 1;
ALTER TABLE message ADD COLUMN overtaken INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN catch_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN reported INTEGER;
UPDATE message SET lane = severity != 'crit';
UPDATE message SET reported = created WHERE failed IS NOT NULL;
CREATE INDEX message_of ON message (channel, incident);
CREATE INDEX message_queue ON message (channel, incident, id) WHERE sent IS NULL AND failed IS NULL;
CREATE INDEX message_unreported ON message (created) WHERE sent IS NULL AND reported IS NULL;
CREATE TABLE channel_pause (
  channel TEXT PRIMARY KEY, t INTEGER NOT NULL, until INTEGER NOT NULL, crit_until INTEGER NOT NULL,
  refusals INTEGER NOT NULL
) WITHOUT ROWID
"""

_SILENCED_TRIPS = """
ALTER TABLE trip ADD COLUMN silenced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incident ADD COLUMN reminded INTEGER;
ALTER TABLE incident ADD COLUMN reminders INTEGER NOT NULL DEFAULT 0
"""

# When it was seen that somebody has undone what a step made so, while a latch holds it.
_UNDONE = """
ALTER TABLE step ADD COLUMN undone INTEGER
"""

# What a message has beside its text (buttons, a chart), what the first message of an incident shows, what people said in chats, and
# what they are asked once more.
_CHAT = """
ALTER TABLE message ADD COLUMN extra TEXT;
CREATE TABLE head (
  channel TEXT NOT NULL, incident INTEGER NOT NULL, shown TEXT NOT NULL DEFAULT '', t INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, next_try INTEGER NOT NULL DEFAULT 0, error TEXT, final INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (channel, incident)
) WITHOUT ROWID;
CREATE TABLE chat_event (
  id INTEGER PRIMARY KEY, channel TEXT NOT NULL, key TEXT NOT NULL, t INTEGER NOT NULL, received INTEGER NOT NULL,
  user TEXT NOT NULL, person TEXT, text TEXT NOT NULL, is_button INTEGER NOT NULL, message TEXT, reply_to TEXT,
  request INTEGER, answered INTEGER, answer TEXT
);
CREATE UNIQUE INDEX chat_event_once ON chat_event (channel, key);
CREATE INDEX chat_event_unanswered ON chat_event (id) WHERE answered IS NULL;
CREATE TABLE confirmation (
  id INTEGER PRIMARY KEY, channel TEXT NOT NULL, person TEXT NOT NULL, kind TEXT NOT NULL, args TEXT NOT NULL,
  t INTEGER NOT NULL, until INTEGER NOT NULL, used INTEGER, used_by TEXT
)
"""

# Which daily and weekly summaries are dealt with, and until when the last one that was told reaches.
_SUMMARIES = """
CREATE TABLE summary (kind TEXT PRIMARY KEY, due INTEGER NOT NULL, told INTEGER) WITHOUT ROWID
"""

# Until when a message waits for the end of quiet hours or for room under a limit (`held`), that it ends something critical
# (`relief`), when it was counted under a limit, with which one it was sent (`folded`). When a further channel was told of an
# incident.
_ROUTING = """
ALTER TABLE message ADD COLUMN held INTEGER;
ALTER TABLE message ADD COLUMN relief INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN counted INTEGER;
ALTER TABLE message ADD COLUMN folded INTEGER;
CREATE INDEX message_counted ON message (channel, counted) WHERE counted IS NOT NULL;
CREATE INDEX message_critical ON message (channel, sent) WHERE severity = 'crit';
ALTER TABLE incident ADD COLUMN escalated INTEGER
"""

MIGRATIONS = (
    *(_INITIAL, _APPROVALS_AND_UNDO, _STEP_DIFF, _BASELINES, _TARGET_LOCATION),
    *(_STATE_PER_TARGET, _PROVENANCE, _TOLD, _WATCHED, _LATE_MESSAGES, _SILENCED_TRIPS, _UNDONE, _CHAT, _SUMMARIES),
    _ROUTING,
)
SCHEMA_VERSION = len(MIGRATIONS)
