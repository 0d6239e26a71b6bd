CREATE TABLE IF NOT EXISTS retention ON CLUSTER `gw` (
  tenant_id String,
  days UInt32,
  set_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/all/retention', '{shard}-{replica}', set_at)
ORDER BY tenant_id;

CREATE TABLE IF NOT EXISTS legal_holds ON CLUSTER `gw` (
  tenant_id String,
  session_id String,
  reason String,
  set_at DateTime64(6, 'UTC') DEFAULT now64(6),
  released UInt8 DEFAULT 0
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/all/legal_holds', '{shard}-{replica}', set_at)
ORDER BY (tenant_id, session_id);
