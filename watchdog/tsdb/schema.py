"""The tables of series.db."""

SERIES_FILE = "series.db"
"""In the state folder."""

APPLICATION_ID = 0x54574453  # "TWDS"
SCHEMA_VERSION = 1

RAW, DOWNSAMPLED = 0, 1
"""Kinds of block: samples as they were delivered; five minutes each, as mean, least, greatest and number."""

SOURCE_STATE = """
CREATE TABLE IF NOT EXISTS source_state (
  source TEXT PRIMARY KEY, identity TEXT NOT NULL, state TEXT NOT NULL, saved_at INTEGER NOT NULL
) WITHOUT ROWID
"""
"""What sources remember. Not in `SCHEMA`: programs that know nothing of it write to the same file, and pass it over."""

SCHEMA = """
CREATE TABLE series (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, source TEXT NOT NULL,
  whole_from INTEGER NOT NULL DEFAULT -4611686018427387904
);
CREATE INDEX series_named ON series (name);
CREATE TABLE times (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE block (
  id INTEGER PRIMARY KEY, series INTEGER NOT NULL, kind INTEGER NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL,
  n INTEGER NOT NULL, times INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE INDEX block_of ON block (series, until);
CREATE INDEX block_age ON block (kind, until);
CREATE INDEX block_times ON block (times);
CREATE TABLE fresh (
  id INTEGER PRIMARY KEY, part INTEGER NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL,
  rows INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE INDEX fresh_of ON fresh (part);
CREATE TABLE watched (source TEXT NOT NULL, begin INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (source, begin))
  WITHOUT ROWID
"""
