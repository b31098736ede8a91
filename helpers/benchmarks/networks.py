"""Baseline networks for DuoNet: two plain U-Nets and FC-Siam-diff, none larger than the published network.

They are called like the networks of :mod:`helpers.model`. Output convolutions have a bias and start as DuoNet's do, so
that no network wins or loses by its first step. All are trained from scratch: nothing is downloaded.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from helpers import model
from helpers.config import CourseError
from helpers.model import check_pair, conv_bn_relu, normalise, register_rgb, upsample

MASK_BIAS, DEPTH_BIAS = -2.0, 0.0  # as in helpers.model.DuoNet: a pixel is rarely cat; depth starts in the middle


def _convolutions(*widths: int) -> nn.Sequential:
    """3x3 convolutions, each with batch normalisation and ReLU, from ``widths[0]`` channels to ``widths[-1]``."""
    return nn.Sequential(*(conv_bn_relu(i, o) for i, o in zip(widths, widths[1:])))


def _start_output(output: nn.Conv2d, biases: Sequence[float]) -> nn.Conv2d:
    """Small weights, and one bias for each channel of logits."""
    nn.init.normal_(output.weight, std=0.01)
    with torch.no_grad():
        output.bias.copy_(torch.tensor(biases))
    return output


class EarlyFusion(nn.Module):
    """Room and scene as six channels of one image; ``body`` makes two of them, mask and depth logits."""

    def __init__(self, body: nn.Module):
        super().__init__()
        register_rgb(self, bg_mean=model.BG_MEAN, bg_std=model.BG_STD)
        register_rgb(self, bg_fg_mean=model.BG_FG_MEAN, bg_fg_std=model.BG_FG_STD)
        self.body = body

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        check_pair(bg, bg_fg)
        room = normalise(bg, self.bg_mean, self.bg_std)  # (B, 3, H, W)
        scene = normalise(bg_fg, self.bg_fg_mean, self.bg_fg_std)  # (B, 3, H, W)
        return self.body(torch.cat((room, scene), 1)).split(1, 1)  # (B, 1, H, W) each


class UNetBody(nn.Module):
    """The U-Net of Ronneberger et al. (2015), with padding and batch normalisation: (B, 6, H, W) to (B, 2, H, W).

    Bilinear upsampling instead of a transposed convolution, as in DuoNet: it leaves no checkerboard artifact.
    """

    def __init__(self, base: int):
        super().__init__()
        widths = [base * 2**level for level in range(5)]  # at 1/1, 1/2, 1/4, 1/8 and 1/16
        self.encoder = nn.ModuleList(_convolutions(i, o, o) for i, o in zip((6, *widths), widths))
        self.pool = nn.MaxPool2d(2)
        self.decoder = nn.ModuleList(_convolutions(i + o, o, o) for i, o in zip(widths[:0:-1], widths[-2::-1]))
        self.logits = _start_output(nn.Conv2d(base, 2, 1), (MASK_BIAS, DEPTH_BIAS))

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.encoder[0](x), []  # (B, base, H, W)
        for stage in self.encoder[1:]:
            skips.append(x)
            x = stage(self.pool(x))  # twice the channels, half the size, down to (B, 16 base, H/16, W/16)
        for stage in self.decoder:
            x = stage(torch.cat((upsample(x), skips.pop()), 1))  # and back
        return self.logits(x)


class UNet(EarlyFusion):
    """A plain U-Net, as wide as the published network's number of parameters allows."""

    def __init__(self) -> None:
        super().__init__(UNetBody(base=26))


class LibraryUNet(EarlyFusion):
    """The U-Net of segmentation-models-pytorch around the first three stages of a ResNet-18, from scratch.

    Its plain encoders (VGG) have 9 million parameters and more; this is that library's common small choice.
    """

    def __init__(self) -> None:
        try:
            import segmentation_models_pytorch  # an optional package
        except ImportError as error:
            raise CourseError("LibraryUNet needs another package: pip install segmentation-models-pytorch.") from error
        body = segmentation_models_pytorch.Unet(
            "resnet18", encoder_depth=4, encoder_weights=None, decoder_channels=(256, 128, 64, 32), in_channels=6,
            classes=2,
        )  # fmt: skip
        del body.encoder.layer4  # at depth 4 it is built but never called: 8.4 of 13.4 million parameters
        _start_output(body.segmentation_head[0], (MASK_BIAS, DEPTH_BIAS))
        super().__init__(body)


class SiameseDecoder(nn.Module):
    """From (B, 128, H/16, W/16) and four skips to logits (B, 1, H, W), as in FC-Siam-diff."""

    def __init__(self, bias: float):
        super().__init__()
        behind = (128, 128, 64), (64, 64, 32), (32, 16), (16,)  # the skips at 1/8, 1/4, 1/2 and 1/1
        self.up = nn.ModuleList(nn.ConvTranspose2d(w, w, 3, 2, padding=1, output_padding=1) for w, *_ in behind)
        self.stages = nn.ModuleList(_convolutions(2 * widths[0], *widths) for widths in behind)
        self.logits = _start_output(nn.Conv2d(16, 1, 3, padding=1), (bias,))

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> Tensor:
        for up, stage, skip in zip(self.up, self.stages, reversed(skips)):
            x = stage(torch.cat((up(x), skip), 1))  # twice the size, about half the channels
        return self.logits(x)


class FCSiamDiff(nn.Module):
    """FC-Siam-diff (Daudt et al., 2018) with a second decoder: one encoder for both images, one at a time.

    Widths, depths and upsampling are the paper's. Its decoder starts from the second image's deepest features and gets
    the absolute differences of both images' features as skips: that is the mask's decoder here. Where nothing changed a
    difference is zero, which carries nothing about the room's depth; so depth has a decoder of its own, whose skips are
    the scene's features. The paper's dropout is left out, as no other network here has any.
    """

    def __init__(self) -> None:
        super().__init__()
        # One normalisation for both images, because the encoder is shared: equal pixels must cancel.
        register_rgb(self, mean=model.BG_FG_MEAN, std=model.BG_FG_STD)
        self.encoder = nn.ModuleList(
            _convolutions(*widths) for widths in ((3, 16, 16), (16, 32, 32), (32, 64, 64, 64), (64, 128, 128, 128))
        )
        self.pool = nn.MaxPool2d(2)
        self.mask_decoder, self.depth_decoder = SiameseDecoder(MASK_BIAS), SiameseDecoder(DEPTH_BIAS)

    def forward(self, bg: Tensor, bg_fg: Tensor) -> tuple[Tensor, Tensor]:
        check_pair(bg, bg_fg)
        x = torch.cat([normalise(image, self.mean, self.std) for image in (bg, bg_fg)])  # (2B, 3, H, W)
        differences, scenes = [], []
        for stage in self.encoder:
            x = stage(x)  # (2B, 16, H, W), then twice the channels and half the size, to (2B, 128, H/8, W/8)
            room, scene = x.unflatten(0, (2, -1))
            differences.append((scene - room).abs())
            scenes.append(scene)
            x = self.pool(x)
        x = x.unflatten(0, (2, -1))[1]  # (B, 128, H/16, W/16), of the scene
        return self.mask_decoder(x, differences), self.depth_decoder(x, scenes)


BASELINES: dict[str, Callable[[], nn.Module]] = {"UNet": UNet, "LibraryUNet": LibraryUNet, "FCSiamDiff": FCSiamDiff}
