"""Claims of notebook 01 that can be computed, and numbers in its prose that no cell prints."""

import re

from notebook_cells import found, prose


def of(pattern: str) -> list[float]:
    return found("01", pattern)


def rmse(images: str) -> list[float]:
    """Of the nearest neighbour and of the mean map."""
    return of(rf"^{images} +([\d.]+) +([\d.]+)$")


def shuffled_pairs() -> float:
    return of(r"shuffled: ([\d.]+) % of the room-cat pairs")[0]


def shares() -> list[float]:
    """Of all quartets, in percent: training, validation and test set."""
    return [of(rf"^{part} .* quartets, ([\d.]+) % of all")[0] for part in ("training", "validation", "test")]


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("Almost every pixel is labelled correctly", lambda: of(r"([\d.]+) % of the pixels are correctly")[0] > 99),
    ("With a shuffled split most pairs are in both parts", lambda: shuffled_pairs() > 50),
    ("so it does with probability", lambda: abs(shuffled_pairs() - of(r"expected: ([\d.]+) %")[0]) < 1),
    ("pairs of a room of one part with a cat of another are not used at all", lambda: 30 < sum(shares()) < 70),
    ("each part has a block of its own", lambda: of(r"split by room and cat: ([\d.]+) %") == [0] and min(shares()) > 0),
    ("on stored images its error is 0", lambda: rmse("stored images")[0] == 0),
    ("on images of the same rooms it clearly beats the mean map", lambda: rmse("same rooms, other images")[0] < 0.6 * rmse("same rooms, other images")[1]),
    ("On new rooms it is worse than the mean map", lambda: rmse("new rooms")[0] > 1.1 * rmse("new rooms")[1]),
    ("right for more than nine pixels in ten", lambda: of(r"A cat covers ([\d.]+) % of the image")[0] < 10),
    ("Cats are mostly in the lower half", lambda: of(r"([\d.]+) % of the cats' pixels are in the lower half")[0] > 60),
    ("floors in front are nearer than walls behind", lambda: (lambda low, high: low < high)(*of(r"mean depth there ([\d.]+), in the upper half ([\d.]+)"))),
    ("For a method without training that is good", lambda: of(r"background subtraction +test Dice ([\d.]+)")[0] > 0.75),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    *re.findall(r"^\| (?:Time|Memory) \|.*$", prose("01"), re.MULTILINE),  # helpers.upkeep.front_page writes what it measured
    "mask.zip has about 0.9 GB: helpers/archive/README.md",
    "Exercise 1.5 asks for at least 15 % for training and 2 % for validation and test: helpers/exercises/nb01.py",
]
