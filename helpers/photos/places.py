"""Which rooms show one place, so that no split divides it: what ``scenes.json`` says or, without it, what looks alike.

It maps rooms, by their names without ending, to places: ``{"hall_1": "hall", "hall_2": "hall"}``. A room that it does
not name is a place of its own. Published data may have objects, as in ``{"room_0002": {"run": 0, "scene": 3}}``: of
these two fields the coarser one that is there, ``run`` before ``scene``, says the place. Names alone say nothing:
IMG_1 and IMG_2 may show two houses.
"""

import torch

from helpers.config import CourseError
from helpers.photos.alike import alike, tell, tell_alike
from helpers.photos.folder import PhotoFolder, by_name, one_form, read_json

SCENES, FIELDS = "scenes.json", ("run", "scene")
LEAST_ALIKE = 0.7  # from when on two rooms count as one place
SIZE = 64  # at which rooms are compared: at that of the dataset, each size might have another split


def places_of(folder: PhotoFolder) -> dict[int, int]:
    """Of rooms that share a place, by number, the first that shows it; look-alikes are told.

    Raises:
        CourseError: scenes.json cannot be read, contradicts itself, or names what is not there.
    """
    names, files = [*map(folder.name, folder.rooms)], f"rooms {folder.digests()}"
    said = _read(folder) if (folder.root / SCENES).exists() else None
    pictures = (torch.tensor(folder.read_room(path, SIZE)[0]).permute(2, 0, 1) for path in folder.rooms)
    found = alike(pictures, LEAST_ALIKE, files)
    if said is None:
        example = ", ".join(f'"{folder.rooms[i].stem}": "place 1"' for i in next(iter(found.items()), ()))
        advice = f"split counts them as one place; to decide it yourself, write {SCENES}: {{{example}}}"
        tell_alike("rooms", names, found, advice, files)
        return found
    place = [said.get(folder.sha256[path], i) for i, path in enumerate(folder.rooms)]
    advice = f"if so, give them one place in {SCENES}, else the test shows rooms that were trained on"
    tell_alike("rooms", names, {i: j for i, j in found.items() if place[i] != place[j]}, advice, files)
    return {i: place.index(one) for i, one in enumerate(place)}


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object with its names in one form."""
    named: dict[str, object] = {}
    for name, value in pairs:
        if named.setdefault(one_form(name), value) != value:
            raise ValueError(f"{name!r:.60} is there twice, with different values")
    return named


def _read(folder: PhotoFolder) -> dict[str, str]:
    """The place of each room that scenes.json names, by its SHA-256: copies of one picture are one room."""
    said, bg = read_json(folder.root, SCENES, _named_once), folder.rooms[0].parent
    if not isinstance(said, dict):
        raise CourseError(f'{SCENES} must map rooms to places: {{"hall_1": "hall", "hall_2": "hall"}}.')
    rooms = by_name([path for path in folder.sha256 if path.parent == bg], "their places")
    if strange := [name[:60] for name in said if name not in rooms]:
        raise CourseError(
            f"{SCENES} names {len(strange)} picture(s) that {bg.name}/ does not have, such as {strange[0]!r}: "
            "write names without their ending, and take out those of pictures that you removed."
        )
    objects, places = {name: value for name, value in said.items() if isinstance(value, dict)}, {}
    field = next((field for field in FIELDS for value in objects.values() if field in value), None)
    for name, value in said.items():
        place = objects.get(name, {}).get(field) if field else value
        if type(place) not in (str, int) or place == "":
            kind = f'an object with "{field}", as another has it' if field else "a text or a whole number"
            raise CourseError(f"{SCENES}: the place of {name} is {place!r:.60}; it must be {kind}.")
        if places.setdefault(folder.sha256[rooms[name]], one_form(f"{place}")) != one_form(f"{place}"):
            raise CourseError(f"{SCENES} has two places for {name} and a copy of the same picture: leave one of them.")
    by = f", by its field {field}" if field else ""
    tell(f"{SCENES}: {len(said)} rooms show {len({*places.values()})} place(s){by}.", str(folder.root))
    return places
