"""The settings in force as YAML for people, without secrets."""

from __future__ import annotations

import yaml

from exporter.config.settings import Settings


def redacted_yaml(settings: Settings) -> str:
    """Return every option with its value in force, as a configuration file would have it.

    Secrets are `<secret>`; without them, the text loads to equal settings.
    """
    tree = settings.model_dump(mode="json")
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
