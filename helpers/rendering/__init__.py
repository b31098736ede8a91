"""Synthetic rooms and cats, ray-cast in torch with exact depth and masks: the course's data without a download.

A room is laid out (``layout``, ``furniture``) from boxes and rounded shapes (``primitives``) with ``textures``; the room pass
draws it once (``room_pass``), a cat (``cats``) finds a place in it (``placement``), and the cat pass draws only what the
cat changes (``cat_pass``). ``RoomsDataset`` (``dataset``) puts these together.
"""

from helpers.rendering.dataset import RoomsDataset

__all__ = ["RoomsDataset"]
