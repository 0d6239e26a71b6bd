-- Conflicts that do not say yet which stored copy they differ from, by hash: those of settling always do.
SELECT tenant_id, event_id, raw_partition, raw_offset
FROM conflicts FINAL
WHERE version = 0 AND marked_by = 'window' AND ingested_at >= {since:DateTime('UTC')}
LIMIT {most:UInt32}
