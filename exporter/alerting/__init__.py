"""Alerting: rules, lifecycle, routing, silences, outbox and delivery; the Board is all it reads."""
