"""How a figure is printed: beside its target, with a word on whether it was reached."""

from __future__ import annotations


def say(what: str, figure: str) -> None:
    """Print a figure that has no target."""
    print(f"  {what:<66} {figure}", flush=True)


def judge(what: str, value: float, unit: str, *, below: float) -> None:
    """Print a figure, its target and their ratio; the lower the better."""
    word = "reached" if value < below else "MISSED"
    figure = f"{value:.3g} {unit}"
    print(f"  {what:<66} {figure:<14} target < {below:g}: {word}, {value / below:.2f} of it", flush=True)
