"""The bodies of `backup` and `jobs`: what a person asks of backups, with or without a daemon."""
