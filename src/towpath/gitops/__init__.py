"""Reads an image reference, or an Application. Writes a commit, or what git holds into an API."""

from towpath.gitops.commit import Commit, Edit, commit
from towpath.gitops.layout import HUB, Deployment, application, files, folder, images
from towpath.gitops.server import app, create
from towpath.gitops.source import owner
from towpath.gitops.sync import Sync

__all__ = [
    "HUB",
    "Commit",
    "Deployment",
    "Edit",
    "Sync",
    "app",
    "application",
    "commit",
    "create",
    "files",
    "folder",
    "images",
    "owner",
]
