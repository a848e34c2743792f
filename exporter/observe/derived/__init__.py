"""Pure functions from what all peers of a cluster said to what is true of the cluster."""
