"""Labels, annotations and property names of our own: the documented links between stages."""

from typing import Final

DOMAIN: Final = "towpath.dev"

CLUSTER_LABEL: Final = "cluster"
"""On the hub's read-only mirror of an edge's object: the name of its cluster."""

MIRROR: Final = "towpath.dev/mirror"
"""Annotation of an object that reflects another cluster's: no controller acts on it."""

PULLED_FROM: Final = "towpath.dev/pulled-from"
"""Annotation of an edge's Application: the hub's one that it is the working copy of."""

PUSHED_REVISION: Final = "towpath.dev/pushed-revision"
"""Annotation of an Application: the newest commit known to be pushed to its repository."""

MODEL_VERSION: Final = "towpath.dev/model-version"
"""Annotation of an InferenceService: the version of the model it serves, as registered."""

DIGEST_PROPERTY: Final = "towpath.dev/digest"
SIZE_PROPERTY: Final = "towpath.dev/size"
SOURCE_PROPERTY: Final = "towpath.dev/source"
IMAGE_PROPERTY: Final = "towpath.dev/image"
REVISION_PROPERTY: Final = "towpath.dev/revision"
"""customProperties of a ModelArtifact or ModelVersion, written by the stage that knows them."""

DERIVED_FROM: Final = "derivedFrom"
HAS_ARTIFACT: Final = "hasArtifact"
PRODUCED: Final = "produced"
BUILT_FROM: Final = "builtFrom"
PACKAGED_AS: Final = "packagedAs"
COMMITTED_AS: Final = "committedAs"
DEPLOYED_TO: Final = "deployedTo"
SERVED_AT: Final = "servedAt"
SERVES: Final = "serves"
PART_OF: Final = "partOf"
"""Relations in the registry's links and lineage; each reads as subject, relation, object. `ship`
links a ModelVersion ``deployedTo`` a ``cluster:NAME`` and ``servedAt`` the URL of its endpoint."""
