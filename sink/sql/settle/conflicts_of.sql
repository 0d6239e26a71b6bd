-- Which of the given events have conflicts.
SELECT DISTINCT tenant_id, event_id
FROM conflicts
WHERE (tenant_id, event_id) IN (
  SELECT t.1, t.2 FROM (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {events:Array(String)})) AS t)
)
