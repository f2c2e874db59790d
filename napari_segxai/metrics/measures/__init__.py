"""What is measured of a map: one file for each family; `napari_segxai.metrics.registry` finds them by itself."""
