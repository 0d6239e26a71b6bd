-- How long events are kept. tenant_id '' is the default of tenants without a row of their own; days 0: for ever. The latest
-- row counts. Retention goes by received_at: the server's word on when an event came, whatever time a client wrote into it.
CREATE TABLE IF NOT EXISTS retention (
  tenant_id String,
  days UInt32,
  set_at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(set_at)
ORDER BY tenant_id;

-- What retention must not touch: a whole tenant (session_id '') or one session of it. released = 1: no longer held.
CREATE TABLE IF NOT EXISTS legal_holds (
  tenant_id String,
  session_id String,
  reason String,
  set_at DateTime64(6, 'UTC') DEFAULT now64(6),
  released UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(set_at)
ORDER BY (tenant_id, session_id);
