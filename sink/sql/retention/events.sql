-- Expired by its time of receipt, and neither its tenant nor its session is held. A tombstone does not tell the session of the
-- copy it hides: of a tenant with a hold on any session all stay, or a copy that lost would be seen again.
toUnixTimestamp64Nano(received_at) < transform(toString(tenant_id), {tenants:Array(String)}, {cutoffs:Array(Int64)}, {default_cutoff:Int64})
AND NOT has({held_tenants:Array(String)}, toString(tenant_id))
AND NOT has(arrayZip({session_tenants:Array(String)}, {sessions:Array(String)}), (toString(tenant_id), session_id))
AND (removed = 0 OR NOT has({session_tenants:Array(String)}, toString(tenant_id)))
