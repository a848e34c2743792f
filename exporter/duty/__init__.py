"""Alerting at work in the daemon: what joins rules and engine to what is observed, configured and shown."""
