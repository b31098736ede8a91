"""Synthetic rooms and cats, ray-cast in torch with exact depth and masks: the course's data without a download.

A room is laid out (``layout``, ``furniture``) from boxes and ellipsoids (``primitives``) with ``textures``; the room
pass (``room_pass``) draws it once, and asks ``solids`` which rays meet which of them. A cat (``cats``) finds a place in
it (``placement``), and the cat pass (``cat_pass``) draws what the cat changes. ``RoomsDataset`` (``dataset``) puts
these together, on a GPU where there is one.
"""

from helpers.rendering.dataset import RoomsDataset

__all__ = ["RoomsDataset"]
