"""The HTTP face: what Prometheus, probes and people ask of the daemon."""
