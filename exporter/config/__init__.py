"""What a person writes: the configuration file, flags and environment, read into frozen settings.

Start at `loader.load`. Nothing is imported here, so that `--help` can read the table of
flags without waiting for pydantic. No defaults of a feature away from its own class.
"""
