"""What this server says no with: status and Qdrant's own words.

Apart from the answers, because the worker processes raise them too and must start fast.
"""

from __future__ import annotations

from exporter.errors import ExporterError


class RefusalError(ExporterError):
    """A request that cannot be served: becomes an answer with this status and text.

    `plain` where Qdrant says so without its envelope, in text.
    """

    def __init__(self, status: int, text: str, *, plain: bool = False) -> None:
        self.status = status
        self.text = text
        self.plain = plain
        super().__init__(f"{status}: {text}")


def wrong_input(text: str) -> RefusalError:
    """400: the request is well formed and asks for something that cannot be."""
    return RefusalError(400, f"Wrong input: {text}")


def bad_body(text: str) -> RefusalError:
    """400: the body is not what this route takes."""
    return RefusalError(400, f"Format error in JSON body: {text}")


def invalid(path: str, text: str) -> RefusalError:
    """422: one value of the body is out of its range."""
    return RefusalError(422, f"Validation error in JSON body: [{path}: {text}]")


def no_collection(name: str) -> RefusalError:
    """404: no collection and no alias of that name."""
    return RefusalError(404, f"Not found: Collection `{name}` doesn't exist!")


def no_snapshot(name: str) -> RefusalError:
    """404: no snapshot of that name."""
    return RefusalError(404, f"Not found: Snapshot {name} not found")
