"""`probe`: one collection searched while a person looks on. The same searches as the daemon's probes."""
