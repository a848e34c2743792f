"""Proving what is stored: from "the files are there" to "restored, and the same"."""
