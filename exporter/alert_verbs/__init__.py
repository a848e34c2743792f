"""The bodies of `alerts`, `rules` and `silence`: they read what a daemon stored, or look once themselves."""
