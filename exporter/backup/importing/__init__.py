"""An export back on a server: planned, made, loaded point by point, proven. Who locks is who calls."""
