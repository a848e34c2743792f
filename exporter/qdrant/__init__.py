"""The only door to Qdrant: HTTP, typed views of its answers, capabilities by version."""
