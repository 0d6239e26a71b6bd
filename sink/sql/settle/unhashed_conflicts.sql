-- Events with a conflict that does not say yet which stored copy it differs from, by hash (those of settling always do); the
-- next ones in order.
SELECT DISTINCT tenant_id, event_id
FROM conflicts FINAL
WHERE version = 0 AND marked_by = 'window' AND ingested_at >= {since:DateTime('UTC')}
  AND (tenant_id, event_id) > ({tenant:String}, {event:String})
ORDER BY tenant_id, event_id
LIMIT {most:UInt32}
