"""The real command beside a real Prometheus, on loopback, as a user would run them."""
