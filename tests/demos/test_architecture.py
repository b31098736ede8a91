"""The drawings of the networks: they show what the modules are, and nothing that is typed in."""

import pytest
import torch
from torch import nn

from helpers.demos import architecture
from helpers.model import DepthMaskNet, DuoNet, EncoderBlock, build, count_parameters

NETWORKS = ["DepthMaskNet", "DuoNet"]


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_hold_every_parameter_once(name):
    net = build(name)
    blocks = architecture.blocks(net)
    assert sum(count_parameters(block) for block in blocks.values()) == count_parameters(net)
    assert all(net.get_submodule(key) is block for key, block in blocks.items())


def test_trace_sees_every_block_in_the_order_in_which_they_run():
    net, image = build("DuoNet").train(), torch.zeros(1, 3, 64, 64)
    steps = architecture.trace(net, image, image)
    assert list(steps) == ["stem", *(f"encoder.{i}" for i in range(4)), "context", *(f"decoder.{i}" for i in range(3)),
                           "mask_head", "depth_head"]  # fmt: skip
    assert steps["stem"] == (((2, 3, 64, 64),), (2, 16, 64, 64)), "both photographs in one batch"
    assert steps["encoder.3"].output == (1, 224, 4, 4)
    assert steps["mask_head"].inputs == ((1, 48, 32, 32), (1, 16, 64, 64))
    assert net.training and not any(block._forward_hooks for block in net.modules()), "left as it was found"


def test_hooks_are_removed_when_the_network_refuses_its_input():
    net = build("DepthMaskNet")
    with pytest.raises(ValueError, match="not divisible by 16"):
        architecture.trace(net, torch.zeros(1, 3, 100, 100), torch.zeros(1, 3, 100, 100))
    assert not any(block._forward_hooks for block in net.modules())


def words(figure) -> set[str]:
    return {text.get_text() for text in figure.axes[0].texts}


def test_boxes_have_the_names_and_shapes_of_the_blocks():
    shown = words(architecture.show_duo_net(build("DuoNet"), 64))
    assert {"context\n224 × 1²", "encoder.3\n224 × 4²", "mask_head\n1 × 64²"} <= shown
    shown = words(architecture.show_depth_mask_net(build("DepthMaskNet"), 96))
    assert {"merge\n32 × 96²", "encoder.7\n512 × 6²", "mask_decoder", ".0\n256 × 12²", ".4\n1 × 96²"} <= shown


def test_another_width_is_another_drawing():
    wider = DepthMaskNet()
    wider.merge, wider.encoder[0] = nn.Conv2d(64, 48, 1), EncoderBlock(48, 64)
    shown = words(architecture.show_depth_mask_net(wider, 32))
    assert "merge\n48 × 32²" in shown and "merge\n32 × 32²" not in shown
    figure = architecture.show_duo_net(DuoNet(stem=8, widths=(24, 80, 160, 96)), 32)
    assert {"difference\n8 × 32²", "encoder.0\n24 × 16²", "context\n96 × 1²"} <= words(figure)
    assert "4.93" in architecture.show_duo_net(build("DuoNet"), 32).axes[0].get_title()
    assert "4.93" not in figure.axes[0].get_title(), "the title counts the parameters"


def test_a_wider_tensor_is_a_wider_box_and_a_larger_picture_a_taller_one():
    boxes = architecture.show_duo_net(build("DuoNet"), 64).axes[0].patches
    sizes = {(round(box.get_width(), 3), round(box.get_height(), 3)) for box in boxes if hasattr(box, "get_width")}
    assert len({width for width, _ in sizes}) >= 6 and len({height for _, height in sizes}) >= 5


def test_no_label_lies_on_another():
    for name, show in (("DepthMaskNet", architecture.show_depth_mask_net), ("DuoNet", architecture.show_duo_net)):
        figure = show(build(name), 192)
        figure.canvas.draw()
        extents = [text.get_window_extent() for text in figure.axes[0].texts]
        for i, one in enumerate(extents):
            assert not any(one.overlaps(other) for other in extents[i + 1 :]), figure.axes[0].texts[i].get_text()


class Plain(nn.Module):
    """As small as a U-Net can be: two stages down, one up, and skips or none."""

    def __init__(self, skips: bool):
        super().__init__()
        self.skips = skips
        self.encoder = nn.ModuleList([nn.Conv2d(6, 4, 1), nn.Conv2d(4, 8, 1, stride=2)])
        self.decoder, self.logits = nn.ModuleList([nn.ConvTranspose2d(8, 4, 2, 2)]), nn.Conv2d(4, 2, 1)

    def forward(self, bg, bg_fg):
        x = torch.cat((bg, bg_fg), 1)
        for stage in (*self.encoder, *self.decoder, self.logits):
            x = stage(x)
        return x.split(1, 1)


def test_a_u_net_is_drawn_with_the_skips_that_it_has():
    with_skips, without = (architecture.show_u_net(Plain(skips), 32).axes[0] for skips in (True, False))
    assert {"encoder.0\n4 × 32²", "encoder.1\n8 × 16²", "decoder.0\n4 × 32²", "logits\n2 × 32²"} <= words(without.figure)
    assert words(with_skips.figure) - words(without.figure) == {"skips"}
    assert len(with_skips.patches) - len(without.patches) == 1
