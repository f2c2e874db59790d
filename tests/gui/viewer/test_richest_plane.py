"""The plane of a case to which the viewer goes."""

from __future__ import annotations

import numpy as np

from napari_segxai.gui.viewer.opened_case import richest_plane


def test_the_richest_plane_is_that_with_most_of_the_map_either_way():
    kwargs = {"metadata": {"segxai_role": "saliency"}}
    map = np.zeros((4, 5, 5), np.float32)
    map[1, 2] = 1
    map[2, :2] = -1
    assert richest_plane([(map, kwargs, "image")]) == 2
    map[3] = np.nan
    map[3, 0, 0] = 50
    assert richest_plane([(map, kwargs, "image")]) == 3
    assert richest_plane([(map[0], kwargs, "image")]) is None
