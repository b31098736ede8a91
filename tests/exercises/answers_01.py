"""Answers to the exercises of notebook 01: right ones in different styles, and wrong ones with words of their diagnosis."""

import numpy as np
import torch
from answers import answers_of

RIGHT, WRONG, right, wrong = answers_of()


def scaled(fill_near, fill_far, axes=(1, 2, 3), turn=False, divide="range"):
    def relative_depth(metres, valid):
        near = metres.masked_fill(~valid, fill_near).amin(axes, keepdim=True)
        far = metres.masked_fill(~valid, fill_far).amax(axes, keepdim=True)
        depth = (metres - near) / (far - near if divide == "range" else far)
        return 1 - depth if turn else depth

    return relative_depth


def distance(convert, where, statistic=torch.Tensor.median):
    def cat_distance(quartet):
        near, far = quartet["near_far"]
        return statistic(convert(quartet["depth"], near, far)[where(quartet["mask"] > 0.5, quartet["valid"])])

    return cat_distance


def leaking(combine):
    def leak(train, test):
        return combine(*(np.isin(asked, known) for asked, known in zip(test.scenes(), train.scenes())))

    return leak


def line(depth, near, far):
    return near + depth * (far - near)


def both(cat, valid):
    return cat & valid


def dealt(ids):
    """0, 1 or 2 for each of ``ids``: training, validation, test."""
    return np.array([0, 0, 0, 1, 2])[ids % 5]


def in_parts(rooms, cats):
    return [(dealt(rooms) == part) & (dealt(cats) == part) for part in range(3)]


def of_rooms(rooms, cats):
    return [np.flatnonzero(dealt(rooms) == part) for part in range(3)]


INF = float("inf")
wrong(
    "1.1",
    (lambda a, b: (b - a).amax(1), "Bytes wrap around: 3 - 5 is 254"),
    (lambda a, b: (b - a).float().abs().amax(1), "Turn both photographs into floats"),
    (lambda a, b: (a - b).abs().amax(1), "Bytes wrap around: 3 - 5 is 254"),
    (lambda a, b: np.abs(a.numpy() - b.numpy()).max(1), "Bytes wrap around: 3 - 5 is 254"),
    (lambda a, b: (a.float() - b.float()).amax(1), "a dark cat vanishes"),
    (lambda a, b: (a.float() / 255 - b.float() / 255).abs().amax(1), "leave them in steps of 255"),
    (lambda a, b: (b.float() - a.float()).amax(1), "a dark cat vanishes"),
    (lambda a, b: (b.float() - a.float()).abs().mean(1), "the mean over the colours"),
    (lambda a, b: (b.float() - a.float()).abs().amax(0), "the colours are axis 1"),
    (lambda a, b: (b.float() - a.float()).abs().amax(1, keepdim=True), "has the shape (4, 1, 64, 64)"),
)
wrong(
    "1.2",
    (scaled(INF, -INF, (0, 1, 2, 3)), "of the whole batch"),
    (scaled(INF, -INF, turn=True), "Upside down"),
    (scaled(0.0, 0.0), "take near away"),
    (scaled(INF, INF), "*minus* infinity"),
    (scaled(INF, -INF, divide="far"), "the largest is far - near"),
    (lambda metres, valid: metres, "instead of"),
)
wrong(
    "1.3",
    (distance(lambda d, n, f: d, both), "near_far turns it into metres"),
    (distance(lambda d, n, f: n + d * f, both), "Use far - near"),
    (distance(lambda d, n, f: f + d * (n - f), both), "Upside down"),
    (distance(line, lambda cat, valid: cat), "cat *and* valid"),
    (distance(line, lambda cat, valid: valid), "of the whole picture"),
    (distance(line, both, torch.Tensor.mean), "This is the mean"),
)
wrong(
    "1.4",
    (leaking(lambda room, cat: room.mean()), "rooms alone"),
    (leaking(lambda room, cat: cat.mean()), "cats alone"),
    (leaking(lambda room, cat: (room & cat).mean()), "|, not &"),
    (leaking(lambda room, cat: (room ^ cat).mean()), "|, not ^"),
    (leaking(lambda room, cat: (room | cat).sum()), "a share is asked for"),
    (leaking(lambda room, cat: 100 * (room | cat).mean()), "in percent"),
    (leaking(lambda room, cat: room.mean() + cat.mean()), "is right"),
    (leaking(lambda room, cat: room | cat), "has the shape"),
)
wrong(
    "1.5",
    (lambda r, c: np.split(np.arange(len(r)), [len(r) * 6 // 10, len(r) * 8 // 10]), "show a room of the training set"),
    (of_rooms, "show a cat of the training set"),
    (lambda r, c: of_rooms(c, r), "show a room of the training set"),
    (lambda r, c: [(dealt(r) == k) | (dealt(c) == k) for k in range(3)], "are both in the training set and in the validation"),
    (lambda r, c: [~(in_parts(r, c)[1] | in_parts(r, c)[2]), *in_parts(r, c)[1:]], "belongs to no part"),
    (lambda r, c: in_parts(r, c)[::2], "Three parts are expected"),
    (lambda r, c: [*in_parts(r, c)[:2], in_parts(r, c)[1]], "both in the validation set and in the test set"),
    (lambda r, c: [*in_parts(r, c)[:2], []], "The test set is empty"),
    (lambda r, c: [(r == k) & (c == k) for k in range(3)], "hold out fewer"),
    (lambda r, c: [(r > 1) & (c > 1), (r == 0) & (c == 0), np.flatnonzero((r == 1) & (c == 1))], "hold out more"),
    (lambda r, c: [part * 1000 for part in map(np.flatnonzero, in_parts(r, c))], "must be a list of quartet indices"),
    (lambda r, c: r, "Three parts are expected"),
)


def looped_difference(bg, bg_fg):
    result = torch.zeros(len(bg), *bg.shape[2:])
    for channel in range(3):
        result = torch.maximum(result, (bg[:, channel].int() - bg_fg[:, channel].int()).abs().float())
    return result


def looped_depth(metres, valid):
    depth = np.zeros(tuple(metres.shape))
    for i, (image, known) in enumerate(zip(metres.numpy(), valid.numpy())):
        near, far = image[known].min(), image[known].max()
        depth[i] = (image - near) / (far - near)
    return depth


def flat_depth(metres, valid):
    flat = torch.where(valid, metres, torch.nan).flatten(1).numpy()
    near, far = np.nanmin(flat, 1), np.nanmax(flat, 1)
    return (metres - torch.from_numpy(near).view(-1, 1, 1, 1)) / torch.from_numpy(far - near).view(-1, 1, 1, 1)


def sorted_depth(metres, valid):
    result = []
    for image, known in zip(metres, valid):
        values = image[known].sort().values
        result.append(torch.where(known, (image - values[0]) / (values[-1] - values[0]), torch.nan))
    return torch.stack(result)


def looped_distance(quartet):
    near, far = quartet["near_far"].tolist()
    distances = []
    for mask, depth, valid in zip(*(quartet[key].flatten().tolist() for key in ("mask", "depth", "valid"))):
        if mask > 0.5 and valid:
            distances.append(near * (1 - depth) + far * depth)
    return sorted(distances)[len(distances) // 2]


def looped_leak(train, test):
    rooms, cats = ({which(i) for i in range(len(train))} for which in (train.room_of, train.cat_of))
    known = [test.room_of(i) in rooms or test.cat_of(i) in cats for i in range(len(test))]
    return sum(known) / len(known)


def random_split(rooms, cats):
    rng, parts = np.random.default_rng(3), []
    room_order, cat_order = rng.permutation(np.unique(rooms)), rng.permutation(np.unique(cats))
    for start, stop in ((0, 0.6), (0.6, 0.8), (0.8, 1)):
        mine = [order[int(start * len(order)) : int(stop * len(order))] for order in (room_order, cat_order)]
        parts.append([i for i in range(len(rooms)) if rooms[i] in mine[0] and cats[i] in mine[1]])
    return tuple(parts)


right(
    "1.1",
    lambda a, b: np.abs(a.numpy().astype(int) - b.numpy()).max(1),
    looped_difference,
    lambda a, b: (torch.maximum(a, b) - torch.minimum(a, b)).amax(1),
    lambda a, b: (255 * (a / 255 - b / 255).abs()).max(dim=1).values,
    lambda a, b: torch.linalg.vector_norm(a.double() - b.double(), ord=float("inf"), dim=1),
    lambda a, b: (a.int() - b.int()).square().amax(1).float().sqrt(),
)
right(
    "1.2",
    looped_depth,
    flat_depth,
    sorted_depth,
    scaled(1e9, -1e9),
    scaled(INF, -INF, (-3, -2, -1)),
    lambda metres, valid: scaled(INF, 0.0)(metres, valid).clamp(0, 1),
)
right(
    "1.3",
    looped_distance,
    lambda q: np.median((q["near_far"][0] + q["depth"] * q["near_far"].diff())[(q["mask"] > 0.5) & q["valid"]].numpy()),
    lambda q: torch.lerp(*q["near_far"], q["depth"][q["valid"] & (q["mask"] >= 0.5)].median()),
    lambda q: torch.where((q["mask"] > 0.5) & q["valid"], line(q["depth"], *q["near_far"]), torch.nan).nanmedian(),
    lambda q: line(q["depth"], *q["near_far"])[q["mask"].round().bool() & q["valid"]].quantile(0.5).item(),
)
right(
    "1.4",
    looped_leak,
    leaking(lambda room, cat: 1 - (~room & ~cat).mean()),
    leaking(lambda room, cat: np.count_nonzero(room | cat) / len(room)),
    leaking(lambda room, cat: room.mean() + cat.mean() - (room * cat).mean()),
    leaking(lambda room, cat: torch.from_numpy(np.logical_or(room, cat)).float().mean()),
)
right(
    "1.5",
    in_parts,
    lambda r, c: tuple(map(np.flatnonzero, in_parts(r, c))),
    lambda r, c: [part.nonzero()[0].tolist() for part in in_parts(r, c)],
    lambda r, c: [torch.from_numpy(part) for part in in_parts(r, c)],
    lambda r, c: np.array(in_parts(r, c)),
    random_split,
    lambda r, c: [(r > 5) & (c > 3), (r < 3) & (c < 2), (r > 2) & (r < 6) & (c > 1) & (c < 4)],
)
