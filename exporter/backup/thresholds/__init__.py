"""Thresholds of optimizers that are changed for a while, and put back whatever comes."""
