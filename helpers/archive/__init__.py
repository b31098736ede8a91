"""The published 400,000 quartets: fetched from Google Drive (``download``) and read straight from their zips.

``ArchiveDataset`` finds pictures through an index that is kept; ``README.md`` says what the data is.
"""

from importlib import import_module

_WHERE = {"ArchiveDataset": "dataset", "fetch_archive": "download"}
__all__ = list(_WHERE)


def __getattr__(name: str):  # late: a download must not wait for torch
    if name not in _WHERE:
        raise AttributeError(f"module 'helpers.archive' has no attribute {name!r}")
    return getattr(import_module(f"helpers.archive.{_WHERE[name]}"), name)
