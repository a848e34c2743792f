"""What backups are, whoever asks for them: sets of snapshots in a store, proven, kept and restored.

When it happens is for `jobs` and for the verbs.
"""
