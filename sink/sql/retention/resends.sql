-- Of a tenant with a hold on any session all copies stay.
toUnixTimestamp64Nano(received_at) < transform(toString(tenant_id), {tenants:Array(String)}, {cutoffs:Array(Int64)}, {default_cutoff:Int64})
AND NOT has({held_tenants:Array(String)}, toString(tenant_id))
AND NOT has({session_tenants:Array(String)}, toString(tenant_id))
