"""Rules: read and checked, evaluated over the Board, written as Prometheus rules."""
