"""How a figure is printed: beside its target, with a word on whether it was reached."""

from __future__ import annotations


def say(what: str, figure: str) -> None:
    """Print a figure that has no target."""
    print(f"  {what:<66} {figure}", flush=True)


def judge(what: str, value: float, unit: str, *, below: float) -> None:
    """Print a figure, its target and their ratio; the lower the better."""
    _print(what, f"{value:.3g} {unit}", f"< {below:g}", value < below, value / below)


def judge_least(what: str, value: float, unit: str, *, least: float) -> None:
    """Print a figure, its target and their ratio; the higher the better."""
    _print(what, f"{value:.3g} {unit}", f">= {least:g}", value >= least, value / least)


def _print(what: str, figure: str, target: str, reached: bool, share: float) -> None:
    word = "reached" if reached else "MISSED"
    print(f"  {what:<66} {figure:<14} target {target}: {word}, {share:.2f} of it", flush=True)
