"""One time per key: the next, and all that are due."""

from __future__ import annotations

from exporter.alerting.timers import Timers


def test_what_is_due_comes_out_in_order_and_once() -> None:
    """The earliest first; equal times in the order in which they were set."""
    timers: Timers[str] = Timers()
    for key, at in (("late", 30.0), ("b", 20.0), ("a", 20.0), ("early", 10.0)):
        timers.set(key, at)

    assert timers.next() == 10.0
    assert timers.pop(20.0) == ["early", "b", "a"]
    assert timers.pop(20.0) == []
    assert timers.next() == 30.0


def test_the_last_time_that_was_set_counts() -> None:
    """Earlier or later than the one before, or never."""
    timers: Timers[str] = Timers()
    timers.set("moved", 10.0)
    timers.set("moved", 50.0)
    timers.set("back", 50.0)
    timers.set("back", 5.0)
    timers.set("never", 1.0)
    timers.set("never", None)

    assert timers.next() == 5.0
    assert timers.pop(49.0) == ["back"]
    assert timers.pop(50.0) == ["moved"]
    assert timers.next() is None


def test_a_time_that_was_left_and_set_again_is_due_once() -> None:
    """The outdated entry is still in the heap."""
    timers: Timers[str] = Timers()
    timers.set("a", 10.0)
    timers.set("a", 20.0)
    timers.set("a", 10.0)

    assert timers.pop(30.0) == ["a"]
