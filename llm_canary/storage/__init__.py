"""SQL: engines, tables, repositories, ingest and migrations; synchronous, run in threads."""
