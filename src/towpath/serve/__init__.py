"""Reads a model folder; answers the Open Inference Protocol v2. Writes nothing.

An InferenceService's process runs this room and nothing else of Towpath: no Kubernetes client, no
database, no pydantic.
"""

from towpath.serve.repository import Description, Repository, Source, check
from towpath.serve.rest import app

__all__ = ["Description", "Repository", "Source", "app", "check"]
