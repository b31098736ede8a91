"""Pairs as people get them wrong: swapped, with a cat in both pictures, with none, of two rooms. What is said of them?

``python -m helpers.benchmarks.bad_pairs FOLDER`` makes them of the places and cats of FOLDER that ``split`` holds out
for the test, moves and lights them as a hand does (:data:`helpers.augment.HANDHELD`), and counts what
:func:`helpers.photos.predict_pair` answers. What is silent should be right.
"""

import argparse
import io
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from helpers.augment import HANDHELD, generator_of, perturb
from helpers.benchmarks.summary import about, keep, machine, markdown_table, positive
from helpers.config import CourseError, plain_errors
from helpers.dataset import Quartet, get_batch, sample, scenes, split
from helpers.photos.dataset import PhotosDataset
from helpers.photos.register import predict_pair
from helpers.predict import pretrained

SIZE, COUNT = 256, 100  # pixels; rooms at most
ANSWERS = "refused", "told", "silent"
RESULT = "bad_pairs.json"  # in runs/


def kinds(dataset: Dataset, count: int = COUNT) -> dict[str, Quartet]:
    """Pairs of each kind, one for each of ``count`` rooms that ``dataset`` shows with two cats."""
    rooms, cats = scenes(dataset)
    first, second = {}, {}  # quartets of each room
    for i, room in enumerate(rooms.tolist()):
        if cats[i] != cats[first.setdefault(room, i)]:
            second.setdefault(room, i)
    chosen = [room for room in first if room in second][:count]
    at = [getattr(dataset, "places", {}).get(room, room) for room in chosen]
    if len(set(at)) < 2:
        raise CourseError("Not two places are shown with two cats: the folder holds too few cats, or too few rooms.")
    n = len(chosen)
    elsewhere = [next(j % n for j in range(i, i + n) if at[j % n] != at[i]) for i in range(n)]
    one, other = (get_batch(dataset, [found[room] for room in chosen]) for found in (first, second))
    wrong = {
        "as they should be": {},
        "swapped": {"bg": one["bg_fg"], "bg_fg": one["bg"]},
        "a cat in both": {"bg": other["bg_fg"]},
        "no cat": {"bg_fg": one["bg"]},
        "two rooms": {"bg": one["bg"][elsewhere]},
    }
    return {kind: perturb({**one, **given}, generator_of(i), by=HANDHELD) for i, (kind, given) in enumerate(wrong.items())}


def answer(net: nn.Module, room: np.ndarray, scene: np.ndarray) -> str:
    """One of :data:`ANSWERS`. That the room does not reach the scene's rim is said of good pairs, too."""
    try:
        with redirect_stdout(io.StringIO()) as said:
            predict_pair(net, room, scene)
    except CourseError:
        return "refused"
    return "told" if any("misses" not in line for line in said.getvalue().splitlines()) else "silent"


def count_answers(net: nn.Module, pairs: dict[str, Quartet]) -> dict[str, dict[str, int]]:
    """How often each answer is given to each kind of pair."""
    found = {}
    for kind, batch in pairs.items():
        pictures = (batch[name].permute(0, 2, 3, 1).numpy() for name in ("bg", "bg_fg"))
        answers = Counter(answer(net, *pair) for pair in zip(*pictures))
        found[kind] = {name: answers[name] for name in ANSWERS}
    return found


def markdown(result: dict) -> str:
    """The table of one result, and a caption that says how it was made."""
    rows = [[kind, *(str(counts[name]) for name in ANSWERS)] for kind, counts in result["answers"].items()]
    where = f"Pairs of {result['rooms']} rooms at {SIZE} px, with the weights for photographs"
    caption = f"{where}; {result['machine']}; {result['date']}."
    return markdown_table(["pairs", *ANSWERS], rows, numbers_from=1) + f"\n\n{caption}"


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.benchmarks.bad_pairs", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs of rooms, and cats")
    parser.add_argument("--count", default=COUNT, type=positive, help="rooms; default %(default)s")
    given = parser.parse_args(arguments)
    with plain_errors():
        pairs = kinds(sample(split(PhotosDataset(given.folder, SIZE))[1], 10 * given.count), given.count)
        answers = count_answers(pretrained("photographs"), pairs)
        rooms = len(next(iter(pairs.values()))["bg"])
        result = about(data="photographs", answers=answers, rooms=rooms, machine=machine())
        keep(result, RESULT, markdown(result))


if __name__ == "__main__":
    main()
