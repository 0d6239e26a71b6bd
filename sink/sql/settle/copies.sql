-- All copies of the given ids that did not lose yet.
SELECT
  tenant_id, id_hash, raw_partition, raw_offset, toString(version), project_id, bucket, toUnixTimestamp64Nano(ts), event_hash
FROM event_ids
WHERE id_hash IN {ids:Array(UInt64)}
GROUP BY tenant_id, id_hash, raw_partition, raw_offset, version, project_id, bucket, ts, event_hash
HAVING max(settled) = 0
