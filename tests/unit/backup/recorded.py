"""What real peers said of a collection, as views of a survey."""

from __future__ import annotations

from exporter.backup.survey import MissingPeer, PeerView, Survey, joined
from exporter.qdrant import keeping
from tests.kit.recordings import recording


def view(folder: str, collection: str, label: str) -> PeerView:
    """Read one peer's recorded answers."""
    telemetry = recording(f"{folder}/telemetry_3").body
    aliases = recording(f"{folder}/aliases").body
    return PeerView(
        label=label,
        cluster=keeping.read_cluster_status(recording(f"{folder}/cluster").body),
        version=keeping.read_server(telemetry).version,
        seen=keeping.read_telemetry(telemetry, collection),
        placement=keeping.read_placement(recording(f"{folder}/collection_cluster.{collection}").body),
        aliases=keeping.read_aliases(aliases),
        collections=keeping.read_collections(recording(f"{folder}/collections").body),
    )


def survey(state: str, collection: str, *, peers: tuple[int, ...] = (0, 1, 2)) -> Survey:
    """Join what the peers of a recorded cluster said; those that are not named were down."""
    views = [view(f"v1.18.3/cluster/{state}/peer{peer}", collection, f"peer{peer}") for peer in peers]
    missing = [MissingPeer(f"peer{peer}", "down") for peer in (0, 1, 2) if peer not in peers]
    return joined(collection, views=views, missing=missing)
