"""Interactive views for notebooks, with a static figure beside each.

Five hold all that they show and outlive the kernel (:mod:`helpers.widgets.player`): ``explore`` walks through
predictions, ``explore_features`` through the stages of a network, ``divide`` compares two pictures, ``worst_first``
sorts by error, ``time_travel`` replays a training. Two compute while they are moved, as ipywidgets: ``explore_losses``
and ``explore_magnitudes`` change what a loss or an augmentation does. ``point_cloud`` turns a depth map into points.
"""
