"""What obstore says when S3 refuses, as the contract's errors.

Its texts hold URLs and the server's whole answer, which may repeat headers: only the status and S3's own
code word are taken out of them.
"""

from __future__ import annotations

import re

from exporter.errors import StoreDenied, StoreError, StoreFull, StoreMissing

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_TRANSPORT = re.compile(r"kind: (Connect|Timeout|Interrupted)\b")
# Where obstore asks a machine of Amazon's for a key when none is written.
_KEY_SERVICES = ("169.254.169.254", "169.254.170.2", "169.254.170.23")

_NO_ROOM_CODES = (
    "QuotaExceeded",
    "XMinioStorageFull",
    "InsufficientStorage",
    "XMinioAdminBucketQuotaExceeded",
)
_ELSEWHERE_CODES = ("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect")
_ELSEWHERE = "incorrectly configured region"  # obstore's own words for a redirect to nowhere
_TRANSPORT_WORDS = {
    "Connect": "it cannot be reached",
    "Timeout": "no answer in time",
    "Interrupted": "the connection broke",
}


def is_open(error: Exception) -> bool:
    """Whether it may have been done all the same, or may yet succeed: no answer, or a server in trouble."""
    status, _ = _status_and_code(error)
    return status is None or status in (408, 429) or (status >= 500 and status not in (501, 507))


def is_conflict(error: Exception) -> bool:
    """Two writers came at once, and this one was turned away without the other being there for certain."""
    status, _ = _status_and_code(error)
    return status == 409


def said(error: Exception, store: str, path: str) -> StoreError:
    """Say what obstore said. `store` and `path` are for people."""
    place = f"{store}/{path}" if path else store
    if any(service in str(error) for service in _KEY_SERVICES):
        return StoreDenied(
            f"{store}: there is no key; write access_key_id: and secret_access_key: below s3:,"
            " or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    status, code = _status_and_code(error)
    told = " ".join(str(part) for part in (status, code) if part)
    if code == "NoSuchBucket":
        return StoreError(f"{store}: there is no such bucket")
    if status == 404 or isinstance(error, FileNotFoundError):
        return StoreMissing(f"{place}: there is no such object")
    if status in (401, 403):
        return StoreDenied(f"{place}: the store refuses us ({told})")
    if status == 507 or code in _NO_ROOM_CODES:
        return StoreFull(f"{place}: no room is left ({told})")
    if code in _ELSEWHERE_CODES or _ELSEWHERE in str(error):
        return StoreError(f"{place}: the bucket is in another region; write its region: below s3:")
    if status is not None:
        return StoreError(f"{place}: the store answered {told}")
    transport = _TRANSPORT.search(str(error))
    return StoreError(f"{place}: {_TRANSPORT_WORDS[transport[1]] if transport else 'the request failed'}")


def _status_and_code(error: Exception) -> tuple[int | None, str | None]:
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return (int(status[1]) if status else None), (code[1] if code else None)
