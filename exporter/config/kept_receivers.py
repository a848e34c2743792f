"""A receiver's settings as bytes and back, secrets and all: only for the state directory.

A receiver that left the configuration is owed the resolves of what it heard, and without its
secrets nobody could send them.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from exporter.config.alerting import ReceiverSettings
from exporter.config.secret import Secret


def kept(settings: ReceiverSettings) -> bytes:
    """Return the settings as JSON with the secrets in it."""
    tree = settings.model_dump(mode="python", exclude_unset=True)
    return json.dumps(tree, default=_revealed).encode()


def from_kept(document: bytes) -> ReceiverSettings | None:
    """Return what `kept` was given; None where this version cannot read it."""
    try:
        return ReceiverSettings.model_validate(json.loads(document))
    except (ValueError, ValidationError):
        return None


def _revealed(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} has no place in a receiver's settings")
