"""The filter and sort language, the lazy tables, the closed set of SQL functions, and the in-memory engine."""
