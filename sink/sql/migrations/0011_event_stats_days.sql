-- What GetEventStats reads instead of the events of days that rest (docs/adr/0010): one row per tenant, project and UTC day,
-- the largest `version` counts. valid = 0: something came for this day, its events are to be read. valid = 1: the entries are
-- what counting the deduplicated events of the day gives, and nothing came since `generation`.
-- entries: kind 0: a session (first_ns, last_ns: its first and last event of the day, Unix nanoseconds); kind 1: a type
-- (events: how many); kind 2: one, `events` names the day itself, so that a reader sees which days it has read.
-- touched_at: ingested_at of the last event that came.
CREATE TABLE IF NOT EXISTS event_stats_days (
  tenant_id LowCardinality(String),
  project_id LowCardinality(String),
  day Date32,
  generation UInt64,
  valid UInt8,
  touched_at DateTime64(6, 'UTC'),
  `entries.kind` Array(UInt8) CODEC(ZSTD(1)),
  `entries.session_id` Array(String) CODEC(ZSTD(1)),
  `entries.type` Array(Int32) CODEC(ZSTD(1)),
  `entries.events` Array(UInt64) CODEC(ZSTD(1)),
  `entries.first_ns` Array(Int64) CODEC(Delta(8), ZSTD(1)),
  `entries.last_ns` Array(Int64) CODEC(Delta(8), ZSTD(1)),
  version UInt64 DEFAULT generation * 2 + valid
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant_id, project_id, day)
SETTINGS index_granularity = 1, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Every event whose ingested_at is not later has been seen: its day is marked in event_stats_days.
CREATE TABLE IF NOT EXISTS event_stats_progress (
  name LowCardinality(String),
  seen_until DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(seen_until)
ORDER BY name;

ALTER TABLE events ADD INDEX IF NOT EXISTS ix_ingested ingested_at TYPE minmax GRANULARITY 1;
