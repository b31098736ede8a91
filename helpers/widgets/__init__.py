"""Interactive views for notebooks, with a static figure beside each.

Five hold all that they show and outlive the kernel (:mod:`helpers.widgets.player`): ``explore`` walks through
predictions, ``explore_features`` through the stages of a network, ``divide`` compares two pictures, ``worst_first``
sorts by error, ``time_travel`` replays a training. Two compute while they are moved, as ipywidgets: ``explore_losses``
and ``explore_magnitudes`` change what a loss or an augmentation does. ``point_cloud`` turns a depth map into points.
"""

from helpers.widgets.augmentation_explorer import explore_magnitudes
from helpers.widgets.cloud_viewer import point_cloud
from helpers.widgets.compare import divide
from helpers.widgets.error_browser import worst_first
from helpers.widgets.explorer import explore
from helpers.widgets.feature_viewer import explore_features
from helpers.widgets.loss_explorer import explore_losses
from helpers.widgets.snapshot_viewer import time_travel

__all__ = [
    "explore", "explore_features", "divide", "worst_first", "time_travel", "explore_losses", "explore_magnitudes",
    "point_cloud",
]  # fmt: skip
