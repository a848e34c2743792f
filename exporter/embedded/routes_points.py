"""The routes to points: all of them go to the collection's worker and wait their turn."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from exporter.embedded.catalog import Catalog
from exporter.embedded.refusals import RefusalError, bad_body
from exporter.embedded.requests import body_of, collection_name, timeout_seconds, waits


class PointRoutes:
    """Reading and writing points."""

    def __init__(self, *, catalog: Catalog) -> None:
        self._catalog = catalog

    def add_to(self, app: web.Application, answering: Any) -> None:
        """Register every route, each wrapped by `answering`, which makes a response of a result."""
        points = "/collections/{collection_name:[^/]+}/points"
        reading = {
            f"{points}/query": "query",
            f"{points}/query/batch": "query_batch",
            f"{points}/scroll": "scroll",
            f"{points}/count": "count",
            points: "retrieve",
            "/collections/{collection_name:[^/]+}/facet": "facet",
        }
        for path, verb in reading.items():
            app.router.add_post(path, answering(self._reader(verb)))
        app.router.add_get(f"{points}/{{id:[^/]+}}", answering(self.get_point))
        app.router.add_put(points, answering(self._writer("upsert")))
        app.router.add_post(f"{points}/delete", answering(self._writer("delete")))
        app.router.add_post(f"{points}/payload", answering(self._payload_writer("set_payload")))
        app.router.add_put(f"{points}/payload", answering(self._payload_writer("overwrite_payload")))
        app.router.add_post(f"{points}/payload/delete", answering(self._payload_writer("delete_payload")))
        app.router.add_post(f"{points}/payload/clear", answering(self._payload_writer("clear_payload")))

    async def get_point(self, request: web.Request) -> Any:
        """One point by id, payload and vector included."""
        given = request.match_info["id"]
        wanted: Any = int(given) if given.isdecimal() else given
        shard = self._catalog.resolve(collection_name(request)).shard
        asked = {"ids": [wanted], "with_vector": True, "with_payload": True}
        found = await shard.read("retrieve", asked, timeout_seconds(request))
        if not found:
            raise RefusalError(404, f"Not found: Point with id {given} does not exists!")
        return found[0]

    def _reader(self, verb: str) -> Any:
        async def read(request: web.Request) -> Any:
            wait_seconds = timeout_seconds(request)
            asked = await body_of(request)
            shard = self._catalog.resolve(collection_name(request)).shard
            _refuse_key(asked, "Bad request")
            return await shard.read(verb, asked, wait_seconds)

        return read

    def _writer(self, verb: str) -> Any:
        async def write(request: web.Request) -> Any:
            asked = await body_of(request)
            if not asked.keys() & {"points", "batch", "filter"}:
                raise bad_body("data did not match any variant of untagged enum PointsSelector")
            shard = self._catalog.resolve(collection_name(request)).shard
            _refuse_key(asked, "Wrong input")
            return await shard.write(verb, asked, wait=waits(request))

        return write

    def _payload_writer(self, action: str) -> Any:
        async def write(request: web.Request) -> Any:
            asked = {**await body_of(request), "action": action}
            shard = self._catalog.resolve(collection_name(request)).shard
            return await shard.write("payload", asked, wait=waits(request))

        return write


def _refuse_key(asked: dict[str, Any], prefix: str) -> None:
    """Refuse a request to the shards of a key, of which there are none here."""
    if (key := asked.get("shard_key")) is not None:
        raise RefusalError(400, f'{prefix}: Shard key "{key}" not found')
