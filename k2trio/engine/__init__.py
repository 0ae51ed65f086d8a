"""The engine: processes that write one log together, each its shards."""
