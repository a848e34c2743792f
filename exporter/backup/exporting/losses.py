"""What an export cannot keep, or an import not bring back as it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.printable import printable

TURBO = "turbo"  # the datatypes that begin so
UINT8 = "uint8"


def losses(config: Mapping[str, Any], not_finite: int) -> tuple[str, ...]:
    """Say for people what is lost. `config`: the collection's, as GET says it; `not_finite`: points with a
    vector that JSON cannot say."""
    return tuple(_losses(config, not_finite))


def inexact(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the vectors whose numbers the server changes anew each time they are written to it."""
    return tuple(
        _named(name)
        for name, params in _dense(config)
        if str(params.get("datatype") or "").lower().startswith(TURBO)
    )


def _losses(config: Mapping[str, Any], not_finite: int) -> Iterator[str]:
    changed = inexact(config)
    if changed:
        yield (
            f"{', '.join(changed)} are stored as turbo, by which numbers differ by a tenth from those that"
            " were written, and again at each import"
        )
    # what is whole numbers is compared by cosine as it is (seen on 1.18.3)
    unit = [
        _named(name)
        for name, params in _dense(config)
        if params.get("distance") == "Cosine" and params.get("datatype") != UINT8
    ]
    if unit:
        yield f"{', '.join(unit)} have length 1, for the server normalized them: what they were is not known"
    whole = [_named(name) for name, params in _dense(config) if params.get("datatype") == UINT8]
    if whole:
        yield f"{', '.join(whole)} have whole numbers from 0 to 255, for the server cut off what was behind"
    if not_finite:
        yield f"{not_finite} points have a vector with infinite numbers or none, which no import can write"


def _dense(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    vectors = (config.get("params") or {}).get("vectors") or {}
    if "size" in vectors and not isinstance(vectors["size"], Mapping):
        yield "", vectors
        return
    yield from ((name, params) for name, params in vectors.items() if isinstance(params, Mapping))


def _named(name: str) -> str:
    return f"the vectors {printable(name)}" if name else "the vectors"
