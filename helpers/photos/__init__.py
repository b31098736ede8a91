"""Quartets from photographs: folders of rooms, cut-out cats and measured depth, composed live.

``PhotosDataset`` reads a folder (``folder``), finds where a cat can stand (``standing``) and which rooms show one place
(``places``, ``alike``). ``build_folder`` makes one of pairs of photographs, ``cut_out`` cuts a cat out of one, and
``predict_pair`` registers one that was taken by hand and predicts. ``download`` and three importers bring Oxford-IIIT
Pet, DIODE and NYU Depth v2; ``pseudo_depth`` adds depth that a public network predicts.
"""

from helpers.photos.builder import build_folder
from helpers.photos.dataset import PhotosDataset
from helpers.photos.register import predict_pair
from helpers.photos.segment_cat import cut_out

__all__ = ["PhotosDataset", "build_folder", "cut_out", "predict_pair"]
