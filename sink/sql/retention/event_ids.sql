-- The time of receipt is in the version (migration 0001). Of a tenant with a hold on any session all ids stay.
reinterpretAsInt64(toUInt64(bitShiftRight(bitXor(bitShiftRight(version, 1), toUInt128('170141183460469231731687303715884105727')), 64))) < transform(toString(tenant_id), {tenants:Array(String)}, {cutoffs:Array(Int64)}, {default_cutoff:Int64})
AND NOT has({held_tenants:Array(String)}, toString(tenant_id))
AND NOT has({session_tenants:Array(String)}, toString(tenant_id))
