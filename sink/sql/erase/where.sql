-- Rows of one erasure that still have their content, of a table with the columns $ids (event ids) and $times.
tenant_id = {tenant_id:String}
AND ({project_id:String} = '' OR project_id = {project_id:String})
AND (session_id IN {sessions:Array(String)} OR hasAny([$ids], {events:Array(String)}))
AND least($times) <= {until_ns:Int64}
AND erasure_id = ''
