"""Where backups lie: a directory or an S3 bucket, behind one contract."""
