"""Claims of notebook 07 that can be computed, and numbers in its prose that no cell prints."""

import re

import numpy as np
from notebook_cells import defined, found, printed, prose

from helpers.benchmarks.report import parts
from helpers.config import ROOT

SUBTRACTED, ALIGNED = "subtract, as they are", "subtract, aligned"
NETWORK, NETWORK_ALIGNED = "network, as they are", "network, aligned"
ONE_SIZE, PERFECT, WIDTHS = "the largest size only", "no pair is perturbed", "40, 80, 160, 256, and one block at 1/4"


def ways(name):
    """Mask Dice of the three pairs."""
    return found("07", rf"^{name} +([\d.]+) +([\d.]+) +([\d.]+)$")


def trained(name):
    """Millions of weights."""
    return found("07", rf"^{name} +\d+ +([\d.]+) +[\d.]+ +[\d.]+ +[\d.]+$")[0]


def behind(worse, better):
    """Whether one way of transfer has the lower mask Dice, on pairs as they are and on perturbed ones."""
    one, other = (found("07", rf"^{name} +\d+ +[\d.]+ +[\d.]+ +([\d.]+) +([\d.]+)$") for name in (worse, better))
    return all(a < b for a, b in zip(one, other))


def change(idea, quantity):
    """By how much the ablation's row differs from the course; 0 where that is no more than the spread over seeds."""
    match = re.search(rf"^{re.escape(idea)}\n(?:    .*\n)*?    {quantity} .*\((=|[+-][\d.]+)\)$", printed("07"), re.MULTILINE)
    assert match, f"notebook 07 prints no {quantity} of {idea!r}"
    return 0.0 if match[1] == "=" else float(match[1])


def seconds(idea):
    return found("07", rf"^{re.escape(idea)}\n(?:    .*\n)*?    training \(s\) +(\d+)$")[0]


def starts(column):
    """``{start: [a value for each number of rooms]}`` of the stored table, without spreads."""
    header, *rows = defined("07", "stored_rows", ROOT=ROOT)["stored_rows"]("transfer")
    values = {}
    for row in rows:
        values.setdefault(row[0], []).append(float(row[header.index(column)].split("\u00a0")[0]))
    return values


def transfer_section():
    return parts((ROOT / "helpers/benchmarks/README.md").read_text("utf-8"), "transfer")[1]


def all_ahead(column, sign):
    """Whether rendered rooms beat ImageNet at every number of rooms, frozen and fine-tuned."""
    of = starts(column)
    pairs = [zip(of[f"rendered rooms, {way}"], of[f"ImageNet, {way}"]) for way in ("frozen", "fine-tuned")]
    return all(sign * (ours - theirs) > 0 for pair in pairs for ours, theirs in pair)


def left_over():
    """Mean differences of the two photographs: as they are, moved, and aligned by the library."""
    return found("07", r"as they are ([\d.]+), moved ([\d.]+), aligned ([\d.]+)")


# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = [
    ("Both find nearly the same movement", lambda: abs(found("07", r"moved by ([\d.]+) pixels")[0] - found("07", r"align finds ([\d.]+)")[0]) < 2),
    ("After `align` the room is nearly black", lambda: left_over()[2] < left_over()[1] < left_over()[0] and left_over()[2] < left_over()[0] / 2),
    ("most matches agree", lambda: found("07", r"which (\d+) agree")[0] > found("07", r"(\d+) matches")[0] / 2),
    ("alignment helps subtraction a great deal", lambda: all(b > a + 0.2 for a, b in zip(ways(SUBTRACTED), ways(ALIGNED)))),
    ("hardly matters to the network", lambda: all(abs(b - a) < 0.05 for a, b in zip(ways(NETWORK), ways(NETWORK_ALIGNED)))),
    (
        "The network and both cut-outs are far ahead of subtraction",
        lambda: min(min(ways(way)) for way in (NETWORK, "your cut-out", "cut_out")) > max(ways(SUBTRACTED) + ways(ALIGNED)) + 0.1,
    ),
    (
        "still better than none",
        lambda: found("07", r"assumed +RMSE ([\d.]+)")[0] < found("07", r"1 - disparity +RMSE ([\d.]+)")[0] / 2,
    ),
    ("It is a little better here, and it takes longer",
     lambda: change(ONE_SIZE, "mask Dice") > 0 > change(ONE_SIZE, "depth RMSE") and seconds(ONE_SIZE) > seconds("nothing: the course as it is")),
    ("a little better on perfect pairs, and worthless as soon as the camera moves",
     lambda: 0 < change(PERFECT, "mask Dice") < 0.02 and change(PERFECT, "Dice, perturbed") < -0.5),
    ("The mask is as good within the spread, the depth is worse",
     lambda: change(WIDTHS, "mask Dice") == 0 < change(WIDTHS, "depth RMSE")),
    ("*From nothing* stays behind it", lambda: behind("from nothing", "pretrained, not trained on")),
    ("*Encoder frozen* is ahead of both",
     lambda: behind("pretrained, not trained on", "encoder frozen") and behind("from nothing", "encoder frozen")),
    ("it trains only a small part of the weights", lambda: trained("encoder frozen") < trained("fine-tuned") / 4),
    ("*Fine-tuned* is best, on pairs as they are and on perturbed ones",
     lambda: all(behind(name, "fine-tuned") for name in ("from nothing", "encoder frozen", "fine-tuned, few samples"))),
    ("Depth gains from more rooms at equally many samples, in all five rows",
     lambda: [values[-1] < values[0] - 0.005 for values in starts("depth RMSE, clean").values()] == 5 * [True]),
    ("Masks gain hardly anything, but for the fine-tuned ImageNet encoder",
     lambda: {start for start, values in starts("mask Dice, perturbed").items() if values[-1] > values[0] + 0.02} == {"ImageNet, fine-tuned"}),
    ("are ahead of ImageNet's in both, frozen and fine-tuned",
     lambda: all_ahead("depth RMSE, clean", -1) and all_ahead("mask Dice, perturbed", 1)),
    ("The weights of rendered rooms, fine-tuned on 400 rooms, have the best depth of all",
     lambda: min((value[-1], start) for start, value in starts("depth RMSE, clean").items())[1] == "rendered rooms, fine-tuned"),
    ("A handful of samples helps on average, most on perturbed pairs, but less than all of them do",
     lambda: behind("pretrained, not trained on", "fine-tuned, few samples") and behind("fine-tuned, few samples", "fine-tuned")),
    ("Each value is the mean of three seeds, whose spread is mostly below 0.01", lambda: "3 seeds" in transfer_section() and
     np.mean([float(value) < 0.01 for value in re.findall("\u00a0±\u00a0([\\d.]+)", transfer_section())]) > 0.8),
    ("ImageNet's encoder helps the depth at every number of rooms",
     lambda: all(starts("depth RMSE, clean")[f"ImageNet, {way}"][k] < starts("depth RMSE, clean")["from nothing"][k]
                 for way in ("frozen", "fine-tuned") for k in range(4))),
    ("its masks are mostly worse than those from nothing",
     lambda: sum(a < b for way in ("frozen", "fine-tuned")
                 for a, b in zip(*(starts("mask Dice, perturbed")[start] for start in (f"ImageNet, {way}", "from nothing")))) > 5),
    ("yet not less time here", lambda: seconds(WIDTHS) >= seconds("nothing: the course as it is")),
]  # fmt: skip

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = [
    "6,400 samples, 64 px, 25 to 400 rooms: helpers.benchmarks.transfer; 144,000: the card of the weights",
    "0.01: a claim above computes it from the results page",
    "15 %, 30 %: what exercise 7.3's checker promises",
    *re.findall(r"^\| (?:Time|Memory) \|.*$", prose("07"), re.MULTILINE),  # helpers.upkeep.front_page writes these
]
