"""OpenAPI documents of what is served.

Reads the catalogue and the schemas of its kinds. Writes documents: OpenAPI 3.0 for each group
version, and one of OpenAPI 2.0, as JSON and as protobuf.
"""

from towpath.apiserver.openapi.documents import Documents

__all__ = ["Documents"]
