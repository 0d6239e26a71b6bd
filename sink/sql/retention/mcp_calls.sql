-- A fact knows no time of receipt: it goes by when it was stored.
toUnixTimestamp64Nano(toDateTime64(ingested_at, 9, 'UTC')) < transform(toString(tenant_id), {tenants:Array(String)}, {cutoffs:Array(Int64)}, {default_cutoff:Int64})
AND NOT has({held_tenants:Array(String)}, toString(tenant_id))
AND NOT has(arrayZip({session_tenants:Array(String)}, {sessions:Array(String)}), (toString(tenant_id), session_id))
