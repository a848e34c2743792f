"""The verbs of backups and jobs."""
