"""What a request asks for, and when it is refused before it is read."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from exporter.embedded.refusals import RefusalError
from exporter.embedded.requests import LARGEST_BODY_BYTES, body_of


async def test_a_body_over_32_mb_is_refused_before_it_is_sent() -> None:
    """As 400, in the words of 1.18.3."""
    headers = {"Content-Length": str(LARGEST_BODY_BYTES + 1)}
    request = make_mocked_request("PUT", "/collections/docs/points", headers)

    with pytest.raises(RefusalError) as raised:
        await body_of(request)

    assert raised.value.status == 400
    assert raised.value.text == (
        "JSON payload (33554433 bytes) is larger than allowed (limit: 33554432 bytes)."
    )
