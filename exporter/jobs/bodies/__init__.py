"""What jobs of each kind do, thin: the work itself is in `backup`."""
