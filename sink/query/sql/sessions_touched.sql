(project_id, session_id) IN (SELECT project_id, session_id FROM handoffs FINAL WHERE $where)
