"""An export put into a new collection, and proven there."""
