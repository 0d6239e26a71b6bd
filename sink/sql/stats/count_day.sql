-- The generation is that of the mark that was seen before the events are read: a later mark wins over this row.
INSERT INTO event_stats_days
  (tenant_id, project_id, day, generation, valid, touched_at, entries.kind, entries.session_id, entries.type, entries.events,
   entries.first_ns, entries.last_ns)
SELECT
  {tenant_id:String},
  {project_id:String},
  toDate32({day:Int32}),
  {generation:UInt64},
  1,
  fromUnixTimestamp64Micro(0, 'UTC'),
  arrayPushBack(groupArray(toUInt8(is_type)), 2),
  arrayPushBack(groupArray(session_id), ''),
  arrayPushBack(groupArray(type), 0),
  arrayPushBack(groupArray(if(is_type, events, 0)), sipHash64({project_id:String}, {day:Int32})),
  arrayPushBack(groupArray(first_ns), 0),
  arrayPushBack(groupArray(last_ns), 0)
FROM
(
  SELECT
    session_id,
    type,
    grouping(session_id) = 1 AS is_type,
    count() AS events,
    toUnixTimestamp64Nano(min(ts)) AS first_ns,
    toUnixTimestamp64Nano(max(ts)) AS last_ns
  FROM events FINAL
  WHERE tenant_id = {tenant_id:String} AND project_id = {project_id:String}
    AND ts >= toDateTime64(toDate32({day:Int32}), 9, 'UTC') AND toDate32(ts) = toDate32({day:Int32})
  GROUP BY GROUPING SETS ((session_id), (type))
)
