"""Receivers, one file each behind `contract.py`: how a notification reads there, and what an answer means."""
