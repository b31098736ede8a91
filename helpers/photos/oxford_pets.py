"""Importer: the cats of Oxford-IIIT Pet (Parkhi et al., 2012), cut out along their trimaps."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from scipy import ndimage

from helpers.config import CourseError
from helpers.photos.builder import Report, counted, read_photo, save_cutout, written_together
from helpers.photos.download import check_limit
from helpers.utils import open_image

PET, BACKGROUND, BORDER = 1, 2, 3  # the classes of a trimap
SMALLEST_CAT = 120  # pixels of the longer side: half of what photos keep
ONE_PIECE = 0.95  # of the cat's area; the rest is dropped
TOUCHES = 0.02  # share of a side of the picture from which on the cat is cut by it


def import_pets(source: str | Path, root: str | Path, limit: int | None = None) -> Report:
    """Cut the cats of Oxford-IIIT Pet out along their trimaps, into ``root/fg/BREED_NUMBER.png``.

    Args:
        source: ``oxford-iiit-pet/`` as ``torchvision.datasets.OxfordIIITPet`` downloads it: ``images/*.jpg``,
            ``annotations/trimaps/*.png`` (1 pet, 2 background, 3 border) and the list of species.
        root: the folder of photographs that gets ``fg/``.
        limit: at most so many cats, of all breeds in turn.

    Raises:
        CourseError: not that folder, no cat that passes, or ``root`` has an ``fg/`` already.
    """
    check_limit(limit)
    base = Path(source)
    if not (base / "annotations").is_dir():
        raise CourseError(f"{base.name}/ has no folder annotations/: give the oxford-iiit-pet/ that torchvision made.")
    names = _in_turn(_cat_names(base / "annotations"))
    report = Report("cats")
    with written_together(root, ("fg/",)) as folder:
        for name in counted(names, len(names), "cutting out cats", "cat"):
            if report.kept == limit:
                break
            try:
                picture, trimap = _read_pet(base, name)
            except CourseError:
                report.left_out["missing, damaged, or with a trimap of another size"] += 1
                continue
            alpha = alpha_of(trimap)
            if fault := cat_fault(alpha):
                report.left_out[fault] += 1
                continue
            opacity = (255 * largest_piece(alpha)).round().astype(np.uint8)
            save_cutout(np.dstack((picture, opacity)), folder / "fg" / f"{name}.png")
            report.kept += 1
        if not report.kept:
            raise CourseError(f"None of the {len(names)} cats in {base.name}/ could be used ({dict(report.left_out)}).")
    return report


def _cat_names(annotations: Path) -> list[str]:
    """The names of all pictures of cats, from the list that comes with the data."""
    path, names = annotations / "list.txt", []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        columns = line.split()  # name, number of the class, species (1 cat, 2 dog), number of the breed
        if len(columns) == 4 and not line.startswith("#") and columns[2] == "1":
            if not re.fullmatch(r"\w+_\d+", columns[0]):
                raise CourseError(f"{path.name} names a picture {columns[0]!r}: it is no list of Oxford-IIIT Pet.")
            names.append(columns[0])
    if not names:
        raise CourseError("annotations/ lists no cat: list.txt is missing or empty.")
    return names


def _in_turn(names: Sequence[str]) -> list[str]:
    """One of each breed, then the second of each, and so on."""
    breeds: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: int(name.rpartition("_")[2])):
        breeds.setdefault(name.rpartition("_")[0], []).append(name)
    rounds = zip_longest(*(breeds[breed] for breed in sorted(breeds)))
    return [name for turn in rounds for name in turn if name]


def _read_pet(base: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) uint8 and its trimap (H, W) uint8."""
    path = base / "annotations" / "trimaps" / f"{name}.png"
    picture = read_photo(base / "images" / f"{name}.jpg", longest=4096)  # the largest has some 3,000 px
    with open_image(path) as image:  # classes, not colours: neither turned nor converted
        if image.size != picture.shape[1::-1] or image.mode not in ("L", "P"):
            raise CourseError(f"{path.name} has another size than its picture.")
        trimap = np.asarray(image)
    if not np.isin(trimap, (PET, BACKGROUND, BORDER)).all():
        raise CourseError(f"{path.name} is no trimap: it has other values than 1, 2 and 3.")
    return picture, trimap


def alpha_of(trimap: np.ndarray) -> np.ndarray:
    """How much of each pixel is pet: (H, W) float32, 1 inside, 0 outside, and a slope across the border class.

    The outline lies somewhere in this band of some pixels: alpha is 1/2 in its middle.
    """
    alpha = (trimap == PET).astype(np.float32)
    if not alpha.any():
        return alpha
    to_pet = ndimage.distance_transform_edt(trimap != PET)
    # Beyond the picture is no pet either: else a band along its frame would count as pet, with no background beside it.
    padded = np.pad(trimap != BACKGROUND, 1)
    to_background = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    border = trimap == BORDER
    alpha[border] = (to_background / (to_background + to_pet))[border]
    return alpha


def cat_fault(alpha: np.ndarray) -> str | None:
    """Why a cat with this ``alpha`` (H, W) makes no good cut-out; None if it does."""
    solid = alpha >= 0.5
    if not solid.any():
        return "without any pixel of cat"
    rows, columns = np.nonzero(solid)
    if max(np.ptp(rows), np.ptp(columns)) + 1 < SMALLEST_CAT:
        return f"smaller than {SMALLEST_CAT} px"
    frame = (solid[:2].any(0), solid[-2:].any(0), solid[:, :2].any(1), solid[:, -2:].any(1))
    if any(side.mean() > TOUCHES for side in frame):
        return "cut by the frame of the picture"
    pieces, _ = ndimage.label(solid)
    if np.bincount(pieces.ravel())[1:].max() < ONE_PIECE * solid.sum():
        return "in several pieces"
    return None


def largest_piece(alpha: np.ndarray) -> np.ndarray:
    """``alpha`` (H, W) without what is not connected to the cat."""
    pieces, count = ndimage.label(alpha > 0)
    return alpha if count < 2 else alpha * (pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
