"""The query server: QueryEvents, GetEventStats and InsightsService on the stored rows.

::

    server      gRPC in, gRPC out; who is asking (identity), what went wrong (errors)
    events      QueryEvents          ┐
    stats       GetEventStats        ├ one file per question: request → SQL → answer
    handoffs    hand-offs, loops     │
    mcp_calls   MCP calls            ┘
    builder     filter → conditions and parameters; every value is a server-side parameter (pure)
    listing     keyset pages: candidates, what fits into an answer, the next token
    pages       page sizes and page tokens (pure)
    ranges      time ranges (pure)
    words       what "all words" means (pure)
    engine      runs SQL on the store's reading clients, with deadline and cost caps
    sql/        the statements; `$name` marks where the builder's constants go, `{name:Type}` are parameters

Every read says FINAL: that is what makes a copy of an event no second row.
"""
