"""Results of all kinds as files that other programs show: 3D Slicer."""
