"""A daemon that stands beside a Qdrant deployment and tells Prometheus how it really is."""

__version__ = "0.1.0"
