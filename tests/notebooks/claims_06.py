"""Claims of notebook 06 that can be computed, and numbers in its prose that no cell prints."""

from notebook_cells import cells, found

TWO, FOUR = r"\s+([\d.]+)\s+([\d.]+)", 4 * r"\s+([\d.]+)"
KINDS = ("noise", "exposure", "shift", "jpeg")


def row(name, numbers):
    return found("06", rf"^{name}{numbers}")


def under(kind, name="the network"):
    """Mask Dice under a corruption, from mild to severe."""
    return row(f"{kind}, {name}", FOUR)


def threshold(kind):
    """Dice at 0.5, at the chosen threshold, and the lowest."""
    return found("06", rf"^{kind}\s+Dice at 0.50 ([\d.]+), at the chosen one ([\d.]+), lowest of all thresholds ([\d.]+)")


def calibration(kind):
    return found("06", rf"^{kind}\s+ECE ([\d.]+); the library's Meter: ([\d.]+)")


def unsure(kind):
    """Percent of sure pixels, and the calibration error of the others."""
    return found("06", rf"^{kind}\s+sure of ([\d.]+)% of the pixels; ECE of the others ([\d.]+)")


def lost(name):
    """The share of its Dice that a method loses on perturbed pairs."""
    clean, perturbed = row(name, TWO)
    return 1 - perturbed / clean


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("On clean pairs subtraction is a strong baseline", lambda: row("the baselines", TWO)[0] > 0.75),
    ("on perturbed pairs it loses more than half of its Dice", lambda: lost("the baselines") > 0.5),
    ("the network only a little", lambda: lost("the network") < 0.06),
    ("Subtraction tolerates a little noise", lambda: under("noise", "the baselines")[0] > 0.75),
    ("and little else", lambda: under("shift", "the baselines")[0] < 0.6),
    ("The network is robust to the ranges printed above",
     lambda: min(under("noise")[1], under("exposure")[1], under("shift")[1]) > 0.9),
    ("three of its curves fall beyond them", lambda: max(under(kind)[3] for kind in ("noise", "exposure", "shift")) < 0.85),
    ("It was never trained with JPEG, and tolerates it all the same", lambda: under("jpeg")[3] > under("jpeg")[0] - 0.03),
    ("Under every corruption in this table it scores higher than subtraction does",
     lambda: all(a > b for kind in KINDS for a, b in zip(under(kind), under(kind, "the baselines")))),
    ("Small and camouflaged cats are more frequent among the worst masks than among all",
     lambda: all(worst > 1.3 * all_of for all_of, worst in (row("small: the smallest quarter", TWO),
                                                            row("camouflaged: the lowest quarter of contrast", TWO)))),
    ("Cats that the frame cuts are *rarer* there", lambda: (lambda all_of, worst: worst < all_of)(*row("cut by the frame", TWO))),
    ("The curves have a broad plateau", lambda: all(threshold(k)[1] - threshold(k)[2] < 0.1 for k in ("clean", "perturbed"))),
    ("So the choice gains little here", lambda: all(abs(threshold(k)[1] - threshold(k)[0]) < 0.01 for k in ("clean", "perturbed"))),
    ("The cell's ECE and the library's agree", lambda: all(calibration(k)[0] == calibration(k)[1] for k in ("clean", "perturbed"))),
    ("nearly all pixels are in the first bin and the last one", lambda: min(unsure(k)[0] for k in ("clean", "perturbed")) > 95),
    ("among them the error is many times larger",
     lambda: all(unsure(k)[1] > 5 * calibration(k)[0] for k in ("clean", "perturbed"))),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    *(line for line in cells("06")[0].source.splitlines() if line.startswith(("| Time", "| Memory"))),  # front_page writes them
    "70 %: the example that explains calibration",
    "60 % of the possible gain: what exercise 6.6 asks for (helpers/exercises/nb06.py)",
]
