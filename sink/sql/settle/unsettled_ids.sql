-- Ids with a copy since {since} that have two or more copies which did not lose yet. Reads only the granules of those ids.
SELECT tenant_id, id_hash
FROM event_ids
WHERE id_hash BETWEEN {low:UInt64} AND {high:UInt64}
  AND id_hash IN (
    SELECT id_hash FROM event_ids
    WHERE ingested_at >= {since:DateTime('UTC')} AND id_hash BETWEEN {low:UInt64} AND {high:UInt64}
  )
GROUP BY tenant_id, id_hash
HAVING uniqExact(version) - uniqExactIf(version, settled = 1) > 1
ORDER BY id_hash, tenant_id
LIMIT {most:UInt32}
