"""The tests: unit mirrors exporter/, contract is what we believe of Qdrant, e2e runs the real command."""
