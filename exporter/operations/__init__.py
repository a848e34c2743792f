"""What a person or a schedule has done to a cluster beyond backups: vacuum. When is said in `jobs`."""
