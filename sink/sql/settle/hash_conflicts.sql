-- The stored copy's position and hash for the conflicts of the given events that do not have them: the hash is not known
-- yet, or another copy was stored when they were compared. The index of ids says where copies may be: it has all of them.
INSERT INTO conflicts (
  tenant_id, project_id, event_id, raw_partition, raw_offset, session_id, ts, received_at, content_sha256, canonical_sha256,
  first_partition, first_offset, first_content_sha256, raw, marked_by, erasure_id, version
)
SELECT
  c.tenant_id, c.project_id, c.event_id, c.raw_partition, c.raw_offset, c.session_id, c.ts, c.received_at, c.content_sha256,
  c.canonical_sha256, e.raw_partition, e.raw_offset, e.content_sha256, c.raw, c.marked_by, c.erasure_id, toUInt8(least(c.version + 1, 255))
FROM conflicts AS c FINAL
INNER JOIN (
  SELECT tenant_id, event_id, raw_partition, raw_offset, content_sha256 FROM events FINAL
  WHERE tenant_id IN {tenants:Array(String)} AND event_id IN {events:Array(String)}
    AND (tenant_id, project_id, ts) IN (
      SELECT tenant_id, project_id, ts FROM event_ids
      WHERE id_hash IN (SELECT sipHash64(arrayJoin({events:Array(String)})))
    )
) AS e ON e.tenant_id = c.tenant_id AND e.event_id = c.event_id
WHERE ((c.version = 0 AND c.marked_by = 'window') OR (c.first_partition, c.first_offset) != (e.raw_partition, e.raw_offset))
  AND (c.tenant_id, c.event_id) IN (
  SELECT t.1, t.2 FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {events:Array(String)})) AS t)
)
