"""Active measurement: searches with stored vectors, recall, points of our own; and what they may cost."""
