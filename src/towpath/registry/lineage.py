"""Where a version comes from and where it went, as a graph.

The whole chain is told: source, artifact with its digest, image, commit, clusters, endpoints. It
is put together from what the account book holds anyway (entities, what belongs to what, inference
services, serve models, the runs that made an artifact), the properties that ``ship`` writes, and
links. An edge reads as a sentence: from, relation, to. Statements and nodes are bounded.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, false, select

from towpath.registry import links, store
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    METRIC_POINT,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    Kind,
)
from towpath.registry.records import Record
from towpath.registry.references import parse, reference
from towpath.registry.tables import ATTRIBUTION, PROPERTIES, TABLES, key_of
from towpath.spec._wire import JsonObject
from towpath.spec.towpath import (
    BUILT_FROM,
    COMMITTED_AS,
    DEPLOYED_TO,
    DERIVED_FROM,
    DIGEST_PROPERTY,
    HAS_ARTIFACT,
    IMAGE_PROPERTY,
    PACKAGED_AS,
    PART_OF,
    PRODUCED,
    REVISION_PROPERTY,
    SERVED_AT,
    SERVES,
    SOURCE_PROPERTY,
)

__all__ = ["Graph", "lineage"]

NODES: Final = 1000
"""Most nodes of a graph; one that has more says that it is truncated."""
ROUNDS: Final = 4
"""How many links away from the version another entity may be."""

_TOLD: Final = ("state", "uri", "desiredState", "status", "lastKnownState", "runtime", "author")
_OUTSIDE: Final = {
    DERIVED_FROM: "Source",
    PACKAGED_AS: "Image",
    COMMITTED_AS: "Commit",
    DEPLOYED_TO: "Cluster",
    SERVED_AT: "Endpoint",
}
"""What a thing outside is, by the relation that leads to it; ``Thing`` for others."""


@dataclass
class Graph:
    """Nodes by id, and the edges between them."""

    nodes: dict[str, JsonObject] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], None] = field(default_factory=dict)
    truncated: bool = False

    def to_json(self) -> JsonObject:
        """As it is answered."""
        edges = [
            {"from": source, "to": target, "relation": relation}
            for source, relation, target in self.edges
        ]
        return {"nodes": [*self.nodes.values()], "edges": edges, "truncated": self.truncated}

    def add(self, ident: str, kind: str, name: str, **more: str) -> bool:
        """Add a node, if it is not there yet; whether it is there now."""
        if ident not in self.nodes:
            if len(self.nodes) >= NODES:
                self.truncated = True
                return False
            self.nodes[ident] = {"id": ident, "kind": kind, "name": name, **more}
        return True

    def join(self, source: str, relation: str, target: str) -> None:
        """Add an edge between two nodes that are there."""
        if source in self.nodes and target in self.nodes:
            self.edges[source, relation, target] = None

    def entity(self, record: Record) -> str:
        """Add an entity; its id."""
        ident = _name(record)
        told = {field: record.body[field] for field in _TOLD if record.body.get(field)}
        if digest := _text(record, DIGEST_PROPERTY):
            told["digest"] = digest
        self.add(ident, record.kind.type, record.name, **told)
        return ident


def lineage(tx: Connection, start: Record) -> Graph:
    """The graph around a version, a model (all its versions), an artifact or a service.

    Args:
        tx: The transaction.
        start: Where to begin.
    """
    graph = Graph()
    graph.entity(start)
    frontier = [start, *_versions(tx, start)]
    seen: set[str] = set()
    for _ in range(ROUNDS):
        around = _Around(tx, graph)
        around.expand(frontier)
        seen |= {_name(record) for record in frontier}
        frontier = [record for record in around.linked() if _name(record) not in seen]
        if not frontier:
            break
    return graph


def _versions(tx: Connection, start: Record) -> list[Record]:
    """The versions that a lineage is about, besides the start itself."""
    table = TABLES["context"]
    versions = select(table).where(table.c.type == MODEL_VERSION.type)
    if start.kind is REGISTERED_MODEL:
        return _records(tx, versions.where(table.c.parent_id == start.id))
    if start.kind in ARTIFACTS:
        belongs = versions.join(ATTRIBUTION, ATTRIBUTION.c.context_id == table.c.id)
        return _records(tx, belongs.where(ATTRIBUTION.c.artifact_id == start.id))
    if start.kind is INFERENCE_SERVICE and start.body.get("modelVersionId"):
        return _records(tx, versions.where(table.c.id == int(start.body["modelVersionId"])))
    return []


class _Around:
    """One step: everything next to some entities. Its statements do not depend on their number."""

    def __init__(self, tx: Connection, graph: Graph) -> None:
        self._tx = tx
        self._graph = graph
        self._found: dict[str, Record] = {}
        self._latest: dict[str, str] = {}

    def expand(self, frontier: list[Record]) -> None:
        """Add what is next to these, links aside."""
        for record in frontier:
            self._note(record)
        versions = [version.id for version in self._of(MODEL_VERSION)]
        self._artifacts(versions)
        self._services(versions)
        self._producers([artifact.id for artifact in self._of(*ARTIFACTS)])
        for _ in range(2):  # a serve model's service, and that one's environment
            self._parents()
        for service, model in self._latest.items():
            self._graph.join(service, SERVES, model)
        for record in self._of(MODEL_VERSION, *ARTIFACTS):
            self._outside(record)

    def linked(self) -> list[Record]:
        """Add the links of all that was found; the entities that they lead to."""
        found = links.about(self._tx, list(self._found), NODES)
        self._graph.truncated |= len(found) == NODES
        ends = {end: parse(end, "link") for link in found for end in (link.subject, link.object)}
        far: list[Record] = []
        for place, table in TABLES.items():
            idents = [
                named.id
                for end, named in ends.items()
                if named.kind and named.kind.place == place and end not in self._found
            ]
            if idents:
                far += [record for record, _ in self._near(select(table), table.c.id.in_(idents))]
        for link in found:
            if ends[link.object].kind is None:
                kind = _OUTSIDE.get(link.relation, "Thing")
                self._graph.add(link.object, kind, link.object.removeprefix("cluster:"))
            self._graph.join(link.subject, link.relation, link.object)
        return far

    def _note(self, record: Record) -> None:
        self._found[self._graph.entity(record)] = record

    def _of(self, *kinds: Kind) -> list[Record]:
        return [record for record in self._found.values() if record.kind in kinds]

    def _near(self, statement: Select[Any], *where: Any) -> list[tuple[Record, Row[Any]]]:
        rows = self._tx.execute(statement.where(*where).limit(NODES)).all()
        self._graph.truncated |= len(rows) == NODES
        found = [(store.record_of(row), row) for row in rows]
        for record, _ in found:
            self._note(record)
        return found

    def _artifacts(self, versions: list[int]) -> None:
        table = TABLES["artifact"]
        join = ATTRIBUTION.c.artifact_id == table.c.id
        for record, row in self._near(
            select(table, ATTRIBUTION.c.context_id).join(ATTRIBUTION, join),
            ATTRIBUTION.c.context_id.in_(versions),
            table.c.type != METRIC_POINT.type,
        ):
            version = reference(MODEL_VERSION, row.context_id)
            self._graph.join(version, HAS_ARTIFACT, _name(record))

    def _producers(self, artifacts: list[int]) -> None:
        table = TABLES["context"]
        join = ATTRIBUTION.c.context_id == table.c.id
        names = {record.id: _name(record) for record in self._of(*ARTIFACTS)}
        for record, row in self._near(
            select(table, ATTRIBUTION.c.artifact_id).join(ATTRIBUTION, join),
            ATTRIBUTION.c.artifact_id.in_(artifacts),
            table.c.type == EXPERIMENT_RUN.type,
        ):
            self._graph.join(_name(record), PRODUCED, names[row.artifact_id])

    def _services(self, versions: list[int]) -> None:
        """Services and serve models of these versions, and services of their models' latest."""
        models = [model.id for model in self._of(REGISTERED_MODEL)]
        models += [version.parent or 0 for version in self._of(MODEL_VERSION)]
        for kind in (INFERENCE_SERVICE, SERVE_MODEL):
            for record, row in self._naming(kind, "modelVersionId", versions):
                version = reference(MODEL_VERSION, int(row.int_value))
                self._graph.join(_name(record), SERVES, version)
        latest = self._naming(INFERENCE_SERVICE, "registeredModelId", models)
        self._latest = {
            _name(record): reference(REGISTERED_MODEL, int(row.int_value))
            for record, row in latest
            if not record.body.get("modelVersionId")
        }

    def _naming(self, kind: Kind, name: str, idents: list[int]) -> list[tuple[Record, Row[Any]]]:
        table, properties = TABLES[kind.place], PROPERTIES[kind.place]
        join = properties.c.owner_id == table.c.id
        return self._near(
            select(table, properties.c.int_value).join(properties, join),
            properties.c.type == kind.type,
            properties.c.custom == false(),
            properties.c.name == name,
            properties.c.key.in_(map(key_of, idents)),
        )

    def _parents(self) -> None:
        owned = [record for record in self._found.values() if record.parent is not None]
        missing = {record.parent for record in owned if _parent(record) not in self._found}
        if missing:
            table = TABLES["context"]
            self._near(select(table), table.c.id.in_(missing))
        for record in owned:
            relation = DEPLOYED_TO if record.kind is INFERENCE_SERVICE else PART_OF
            self._graph.join(_name(record), relation, _parent(record))

    def _outside(self, record: Record) -> None:
        """What the properties of ``ship`` tell."""
        graph, name = self._graph, _name(record)
        if source := _text(record, SOURCE_PROPERTY):
            graph.add(source, _OUTSIDE[DERIVED_FROM], source)
            graph.join(name, DERIVED_FROM, source)
        if image := _text(record, IMAGE_PROPERTY):
            uri = f"oci://{image}"
            graph.add(uri, _OUTSIDE[PACKAGED_AS], image)
            graph.join(name, PACKAGED_AS, uri)
            for edge in [edge for edge in graph.edges if edge[:2] == (name, HAS_ARTIFACT)]:
                if edge[2].startswith(MODEL_ARTIFACT.type):
                    graph.join(uri, BUILT_FROM, edge[2])
        if revision := _text(record, REVISION_PROPERTY):
            uri = f"commit:{revision}"
            graph.add(uri, _OUTSIDE[COMMITTED_AS], revision)
            graph.join(name, COMMITTED_AS, uri)


def _records(tx: Connection, statement: Select[Any]) -> list[Record]:
    return [store.record_of(row) for row in tx.execute(statement.limit(NODES))]


def _name(record: Record) -> str:
    return reference(record.kind, record.id)


def _parent(record: Record) -> str:
    kind = record.kind.parent
    return reference(kind[1], record.parent or 0) if kind else ""


def _text(record: Record, key: str) -> str:
    """A custom property that is a text; empty when there is none."""
    found = record.body.get("customProperties", {}).get(key, {})
    return str(found.get("string_value") or "")
