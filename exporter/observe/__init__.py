"""What learns: sources that poll, the roster of whom to poll, and what is derived from both."""
