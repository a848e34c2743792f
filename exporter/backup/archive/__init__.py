"""What a snapshot archive holds: read while it passes, cut by shard, opened without a server."""
