"""The library of the course: data, networks, losses, metrics, training, pictures. ``README.md`` here is the map.

``import helpers`` costs nothing: every public name is fetched from its module when it is first asked for (PEP 562).
"""

import sys
from importlib import import_module
from types import ModuleType

_WHERE = {
    "RoomsDataset": "rendering", "PhotosDataset": "photos", "ArchiveDataset": "archive", "fetch_archive": "archive",
    "check_quartet": "dataset", "split": "dataset",
    "DepthMaskNet": "model", "DuoNet": "model",
    "Meter": "metrics", "evaluate": "evaluate",
    "recipe": "recipes", "train": "train",
    "load": "predict", "pretrained": "predict", "predict": "predict", "export_onnx": "web", "export_page": "web",
    "check": "exercises", "hint": "exercises", "solution": "exercises",
}  # fmt: skip
__all__ = list(_WHERE)


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module 'helpers' has no attribute {name!r}")
    return getattr(import_module(f"helpers.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Face(ModuleType):
    """``helpers.train``, ``helpers.evaluate`` and ``helpers.predict`` are the functions, also after their modules of
    the same names were imported: Python binds a module in its package, and that is left out here."""

    def __setattr__(self, name: str, value) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
