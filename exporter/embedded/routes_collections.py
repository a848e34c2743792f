"""The routes to collections, aliases and payload indexes, and what is told of a collection."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from exporter.embedded.answers import to_nanoseconds
from exporter.embedded.catalog import Catalog, Collection
from exporter.embedded.optimizer_log import Run
from exporter.embedded.refusals import bad_body, wrong_input
from exporter.embedded.requests import body_of, collection_name, waits
from exporter.embedded.shard_view import SegmentView
from exporter.embedded.telemetry import optimizer_status

OPTIONAL_LISTS = ("queued", "completed", "idle_segments")  # of /optimizations, by ?with=


class CollectionRoutes:
    """Everything under /collections but the points."""

    def __init__(self, *, catalog: Catalog) -> None:
        self._catalog = catalog

    def add_to(self, app: web.Application, answering: Any) -> None:
        """Register every route, each wrapped by `answering`, which makes a response of a result."""
        one = "/collections/{collection_name:[^/]+}"
        router = app.router
        router.add_get("/collections", answering(self.names))
        router.add_get("/aliases", answering(self.aliases))
        router.add_post("/collections/aliases", answering(self.change_aliases))
        router.add_get(one, answering(self.show))
        router.add_put(one, answering(self.create))
        router.add_patch(one, answering(self.patch))
        router.add_delete(one, answering(self.delete))
        router.add_get(f"{one}/exists", answering(self.exists))
        router.add_get(f"{one}/aliases", answering(self.aliases_of))
        router.add_get(f"{one}/cluster", answering(self.cluster))
        router.add_get(f"{one}/optimizations", answering(self.optimizations))
        router.add_put(f"{one}/index", answering(self.create_index))
        router.add_delete(f"{one}/index/{{field_name:[^/]+}}", answering(self.delete_index))

    async def names(self, request: web.Request) -> Any:
        """The names of all collections."""
        return {"collections": [{"name": name} for name in sorted(self._catalog.collections)]}

    async def show(self, request: web.Request) -> Any:
        """One collection: status, counts, configuration, payload indexes."""
        collection = self._named(request)
        shard = collection.shard
        return {
            "status": shard.status,
            "optimizer_status": optimizer_status(shard),
            "indexed_vectors_count": shard.counts.indexed_vectors,
            "points_count": shard.counts.points,
            "segments_count": len(shard.segments),
            "config": collection.config,
            "payload_schema": collection.payload_schema,
            "update_queue": {"length": shard.queue_length},
        }

    async def create(self, request: web.Request) -> Any:
        """Create a collection."""
        await self._catalog.create(collection_name(request), await body_of(request))
        return True

    async def patch(self, request: web.Request) -> Any:
        """Change a collection's configuration and run its optimizer."""
        self._catalog.patch(collection_name(request), await body_of(request))
        return True

    async def delete(self, request: web.Request) -> Any:
        """Delete a collection; false when there was none."""
        return await self._catalog.delete(collection_name(request))

    async def exists(self, request: web.Request) -> Any:
        """Whether a collection or an alias has that name."""
        name = collection_name(request)
        return {"exists": name in self._catalog.collections or name in self._catalog.aliases}

    async def aliases(self, request: web.Request) -> Any:
        """All aliases."""
        return self._aliases(None)

    async def aliases_of(self, request: web.Request) -> Any:
        """The aliases of one collection; none of one that is not there."""
        return self._aliases(collection_name(request))

    async def change_aliases(self, request: web.Request) -> Any:
        """Create, delete and rename aliases, all or none."""
        actions = (await body_of(request)).get("actions")
        if not isinstance(actions, list):
            raise bad_body("missing field `actions`")
        self._catalog.change_aliases(actions)
        return True

    async def cluster(self, request: web.Request) -> Any:
        """Where the shards of a collection are: one, here."""
        points = self._named(request).shard.counts.points
        return {
            "peer_id": self._catalog.peer_id,
            "shard_count": 1,
            "local_shards": [{"shard_id": 0, "points_count": points, "state": "Active"}],
            "remote_shards": [],
            "shard_transfers": [],
        }

    async def optimizations(self, request: web.Request) -> Any:
        """What the optimizer does, is about to do, and did."""
        collection = self._named(request)
        wanted = [name for name in request.query.get("with", "").split(",") if name]
        for name in wanted:
            if name not in OPTIONAL_LISTS:
                raise wrong_input(f"Unknown field in 'with' parameter: {name}")
        answer = _optimizations(collection)
        if (limit := request.query.get("completed_limit", "")).isdecimal():
            wanted.append("completed")  # the limit asks for the list too
            answer["completed"] = answer["completed"][: int(limit)]
        return {name: part for name, part in answer.items() if name not in OPTIONAL_LISTS or name in wanted}

    async def create_index(self, request: web.Request) -> Any:
        """Create a payload index."""
        return await self._catalog.index(
            collection_name(request), await body_of(request), wait=waits(request)
        )

    async def delete_index(self, request: web.Request) -> Any:
        """Delete a payload index."""
        shard = self._named(request).shard
        argument = {"field_name": request.match_info["field_name"]}
        return await shard.write("delete_index", argument, wait=waits(request))

    def _named(self, request: web.Request) -> Collection:
        return self._catalog.resolve(collection_name(request))

    def _aliases(self, only: str | None) -> dict[str, Any]:
        return {
            "aliases": [
                {"alias_name": alias, "collection_name": target}
                for alias, target in sorted(self._catalog.aliases.items())
                if only in (None, target)
            ]
        }


def _optimizations(collection: Collection) -> dict[str, Any]:
    shard = collection.shard
    running, queued = shard.log.running, shard.pending
    busy = {segment.uuid for plan in queued for segment in plan.segments}
    busy |= {segment.uuid for segment in running.segments} if running else set()
    idle = [segment for segment in shard.segments if segment.uuid not in busy]
    return {
        "summary": {
            "queued_optimizations": len(queued),
            "queued_segments": sum(len(plan.segments) for plan in queued),
            "queued_points": sum(plan.points for plan in queued),
            "idle_segments": len(idle),
        },
        "running": [_run(running)] if running else [],
        "queued": [
            {"optimizer": plan.optimizer, "segments": [_segment(one) for one in plan.segments]}
            for plan in queued
        ],
        "completed": [_run(run) for run in shard.log.finished],
        "idle_segments": [_segment(segment) for segment in idle],
    }


def _run(run: Run) -> dict[str, Any]:
    progress: dict[str, Any] = {
        "name": "Segment Optimizing",
        "started_at": to_nanoseconds(run.started_seconds),
    }
    if run.finished_seconds is not None:
        progress["finished_at"] = to_nanoseconds(run.finished_seconds)
        progress["duration_sec"] = run.finished_seconds - run.started_seconds
    return {
        "uuid": run.uuid,
        "optimizer": run.optimizer,
        "status": run.status,
        "segments": [_segment(segment) for segment in run.segments],
        "progress": progress,
    }


def _segment(segment: SegmentView) -> dict[str, Any]:
    return {"uuid": segment.uuid, "points_count": segment.live_points}
