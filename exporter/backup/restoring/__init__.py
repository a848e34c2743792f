"""A set back on a server: planned, made, uploaded shard by shard, proven. Who locks is who calls."""
