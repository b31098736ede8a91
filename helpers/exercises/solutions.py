"""One answer to each exercise, as `solution` shows it, with the names that its notebook has imported."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from helpers import augment, losses
from helpers.config import CourseError
from helpers.model import DuoNet
from helpers.photos.register import align
from helpers.recipes import Stage, recipe


def difference(bg, bg_fg):
    return (bg_fg.float() - bg.float()).abs().amax(1)  # (B, H, W)


def relative_depth(metres, valid):
    near = metres.masked_fill(~valid, float("inf")).amin((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    far = metres.masked_fill(~valid, float("-inf")).amax((1, 2, 3), keepdim=True)
    return (metres - near) / (far - near)


def cat_distance(quartet):
    near, far = quartet["near_far"]
    metres = near + quartet["depth"] * (far - near)
    return metres[(quartet["mask"] > 0.5) & quartet["valid"]].median()


def leak(train, test):
    train_rooms, train_cats = train.scenes()
    test_rooms, test_cats = test.scenes()
    known_room, known_cat = np.isin(test_rooms, train_rooms), np.isin(test_cats, train_cats)
    return (known_room | known_cat).mean()


def honest_split(rooms, cats):
    all_rooms, all_cats = np.unique(rooms), np.unique(cats)
    chosen = (  # rooms and cats of training, validation, test
        (all_rooms[4:], all_cats[4:]),
        (all_rooms[:2], all_cats[:2]),
        (all_rooms[2:4], all_cats[2:4]),
    )
    return [np.flatnonzero(np.isin(rooms, some_rooms) & np.isin(cats, some_cats)) for some_rooms, some_cats in chosen]


def mirrored(quartet):
    moved = {key: quartet[key].flip(-1) for key in ("bg", "bg_fg", "mask", "depth", "valid")}
    return {**quartet, **moved}


def brighter(quartet, factor):
    lit = {key: (quartet[key].float() * factor).clamp(0, 255).to(torch.uint8) for key in ("bg", "bg_fg")}
    return {**quartet, **lit}


def cropped(quartet, top, left, side):
    cut = {key: value[..., top : top + side, left : left + side] for key, value in quartet.items() if key != "near_far"}
    batch = {key: value[None] for key, value in {**quartet, **cut}.items()}
    return {key: value[0] for key, value in augment.rescale_depth(batch).items()}


def halved(quartet):
    small = {key: F.avg_pool2d(quartet[key].float(), 2).round().to(torch.uint8) for key in ("bg", "bg_fg")}
    small["mask"] = F.avg_pool2d(quartet["mask"], 2)
    small |= {key: quartet[key][..., ::2, ::2] for key in ("depth", "valid")}
    return {**quartet, **small}


def cutout(quartet, side, generator):
    size = quartet["bg"].shape[-1]
    top, left = torch.randint(size - side + 1, (2,), generator=generator)
    hidden = torch.zeros(1, size, size, dtype=torch.bool)
    hidden[:, top : top + side, left : left + side] = True
    cut = {key: quartet[key].masked_fill(hidden, 0) for key in ("bg", "bg_fg", "mask", "valid")}
    batch = {key: value[None] for key, value in {**quartet, **cut}.items()}
    return {key: value[0] for key, value in augment.rescale_depth(batch).items()}


def aligned(bg, bg_fg):
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    moved = torch.stack([bg.roll(shift, (2, 3)) for shift in shifts])  # (25, B, 3, H, W)
    cost = (moved.float() - bg_fg.float()).abs().mean((2, 3, 4))  # (25, B)
    return moved[cost.argmin(0), torch.arange(len(bg))]


class DecoderStep(nn.Module):
    def __init__(self, inputs, skip, outputs):
        super().__init__()
        self.convolve = nn.Conv2d(inputs + skip, outputs, 3, padding=1)

    def forward(self, x, skip):
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear")
        return torch.relu(self.convolve(torch.cat((x, skip), 1)))


def padded(picture):
    height, width = picture.shape[-2:]
    return F.pad(picture, (0, -width % 16, 0, -height % 16), mode="replicate")


def conv_cost(inputs, outputs, kernel, height, width):
    parameters = inputs * outputs * kernel**2
    operations = 2 * parameters * height * width
    return parameters, operations


def reach(kernels, dilations):
    return sum(kernel // 2 * dilation for kernel, dilation in zip(kernels, dilations))


def doubling(inputs):
    resize = nn.Upsample(scale_factor=2, mode="bilinear")
    return nn.Sequential(resize, nn.Conv2d(inputs, inputs // 2, 3, padding=1))


def cheaper():
    return DuoNet(stem=8, widths=(16, 32, 96, 320), blocks=(1, 1, 2, 2))  # narrow where every channel is dear


def soft_iou_loss(prob, target, smooth=1.0):
    overlap = (prob * target).sum((1, 2, 3))  # (B,)
    union = (prob + target).sum((1, 2, 3)) - overlap  # (B,)
    return (1 - (overlap + smooth) / (union + smooth)).mean()


def mask_loss(logits, mask):
    entropy = F.binary_cross_entropy_with_logits(logits, mask)
    return entropy + losses.soft_dice_loss(logits.sigmoid(), mask)


def berhu_loss(depth, target, valid):
    error = torch.where(valid, (depth - target).abs(), 0.0)
    c = (0.2 * error.max()).clamp_min(1e-6)  # above 0, for a perfect prediction
    cost = torch.where(error <= c, error, (error**2 + c**2) / (2 * c))  # (B, 1, H, W)
    return cost.sum() / valid.sum().clamp_min(1)


def dice_of(prob, mask):
    found, real = prob > 0.5, mask > 0.5  # (B, 1, H, W)
    overlap = (found & real).sum((1, 2, 3))  # (B,)
    sizes = found.sum((1, 2, 3)) + real.sum((1, 2, 3))  # (B,)
    return torch.where(sizes > 0, 2 * overlap / sizes.clamp_min(1), 1.0)


def depth_score(depth, batch):
    error = (depth - batch["depth"])[batch["valid"]]
    return 1 - error.square().mean().sqrt()


def clipped_step(net, optimizer, loss, batch, limit):
    net.train()
    value = loss(*net(batch["bg"], batch["bg_fg"]), batch)["loss"]
    optimizer.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), limit)  # all gradients together
    optimizer.step()
    return value.item()


def accumulated_step(net, optimizer, loss_of, parts):
    optimizer.zero_grad()
    for part in parts:
        (loss_of(net, part) / len(parts)).backward()  # adds to the gradients that are there
    optimizer.step()


def validation_loss(net, loss_of, batches):
    was_training = net.training
    net.eval()
    with torch.no_grad():
        total = sum(loss_of(net, batch).item() * len(batch["bg"]) for batch in batches)
    net.train(was_training)
    return total / sum(len(batch["bg"]) for batch in batches)


def early_stopping(losses, patience):
    kept = 0
    for last, loss in enumerate(losses):
        if loss < losses[kept]:
            kept = last
        if last - kept >= patience:
            break
    return kept, last


def my_recipe():
    stages = Stage(32, 32, 1), Stage(48, 32, 1), Stage(64, 32, 2)
    return recipe("course", stages=stages, learning_rate=1e-2, schedule="one-cycle")


def predict_once(net, batch):
    net.eval()
    with torch.no_grad():
        mask_logits, depth_logits = net(batch["bg"], batch["bg_fg"])
    return mask_logits.sigmoid(), depth_logits.sigmoid()


def worst_numbers(prob, mask, count):
    found, real = prob > 0.5, mask > 0.5
    overlap = (found & real).sum((1, 2, 3))
    dice = 2 * overlap / (found.sum((1, 2, 3)) + real.sum((1, 2, 3))).clamp_min(1)
    return dice.argsort()[:count]


def hardest_room(dice, rooms):
    means = {int(room): dice[rooms == room].mean() for room in rooms.unique()}
    return min(means, key=means.get)


def best_threshold(validation, test, thresholds):
    prob, real = validation[0], validation[1] > 0.5  # the test set has no influence
    dice = [2 * (real & (prob >= t)).sum() / (real.sum() + (prob >= t).sum()) for t in thresholds]
    return thresholds[np.argmax(dice)]


def best_temperature(logits, mask):
    candidates = torch.linspace(0.25, 4, 76)
    losses = [F.binary_cross_entropy_with_logits(logits / t, mask) for t in candidates]
    return candidates[np.argmin(losses)]


def clean(prob):
    masks = prob.numpy() >= 0.5
    for mask in masks[:, 0]:  # (H, W), changed in place
        parts, count = ndimage.label(mask)
        area = np.bincount(parts.ravel())
        largest = area[1:].max(initial=0)  # the first is the background
        mask[area[parts] < largest / 5] = False
    return torch.from_numpy(masks).float()


def in_the_light_of(room, scene):
    ratio = scene / np.maximum(room, 1.0)  # (H, W, 3)
    gain = np.median(ratio, axis=(0, 1))
    return (room * gain).round().clip(0, 255).astype(np.uint8)


def composed(rgba, room):
    weight = rgba[..., 3:] / 255  # (H, W, 1)
    mixed = weight * rgba[..., :3] + (1 - weight) * room
    return mixed.round().astype(np.uint8)


def usable(room, scene):
    try:
        aligned = align(room, scene)  # refuses other sizes, and views too far apart
    except CourseError:
        return False
    difference = np.abs(scene.astype(float) - aligned.room).max(-1)
    share = (difference > 30)[aligned.seen].mean()
    return 0.005 < share < 1 / 3


def split_by_scene(names):
    scenes = [name.rpartition("_")[0] for name in names]
    held_out = set(sorted(set(scenes))[::3])
    train = [name for name, scene in zip(names, scenes) if scene not in held_out]
    test = [name for name, scene in zip(names, scenes) if scene in held_out]
    return train, test


def depth_of(disparity, far_over_near):
    inverse = 1 / far_over_near + (1 - 1 / far_over_near) * disparity  # 1 / distance, the nearest at distance 1
    return (1 / inverse - 1) / (far_over_near - 1)


def largest_difference(first, second, pairs):
    worst = 0.0
    for bg, bg_fg in pairs:
        for a, b in zip(first(bg, bg_fg), second(bg, bg_fg)):
            worst = np.maximum(worst, np.abs(a - b).max())  # keeps a nan, as max does not
    return worst


def in_8_bits(weight):
    scale = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / 127  # (outputs,)
    whole = (weight / scale.view(-1, 1, 1, 1)).round().to(torch.int8)
    return whole, scale


def to_ship(rows):
    exact = rows["float32"]
    least, most = exact["mask Dice"] - 0.005, exact["depth RMSE"] + 0.002
    good = [name for name, row in rows.items() if row["mask Dice"] >= least and row["depth RMSE"] <= most]
    return min(good, key=lambda name: rows[name]["MB"])


class Adapter(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, bg, bg_fg):
        pair = 2 * torch.cat((bg_fg, bg), 1) - 1  # (B, 6, H, W) in [-1, 1]
        logits = self.net(pair)  # (B, 2, H, W)
        return logits[:, 1:], logits[:, :1]


SOLUTIONS = {
    "1.1": difference, "1.2": relative_depth, "1.3": cat_distance, "1.4": leak, "1.5": honest_split,
    "2.1": mirrored, "2.2": brighter, "2.3": cropped, "2.4": halved, "2.5": aligned, "2.6": cutout,
    "3.1": DecoderStep, "3.2": padded, "3.3": doubling, "3.4": reach, "3.5": conv_cost, "3.6": cheaper,
    "4.1": soft_iou_loss, "4.2": mask_loss, "4.3": berhu_loss, "4.4": dice_of, "4.5": depth_score,
    "5.1": clipped_step, "5.2": accumulated_step, "5.3": validation_loss, "5.4": early_stopping, "5.5": my_recipe,
    "6.1": predict_once, "6.2": worst_numbers, "6.3": hardest_room, "6.4": best_threshold, "6.5": best_temperature,
    "6.6": clean,
    "7.1": in_the_light_of, "7.2": composed, "7.3": usable, "7.4": split_by_scene, "7.5": depth_of,
    "8.1": largest_difference, "8.2": in_8_bits, "8.3": to_ship, "8.4": Adapter,
}  # fmt: skip
