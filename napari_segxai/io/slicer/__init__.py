"""Files for 3D Slicer, and handing them to one that runs on this machine; from plain arrays, names and places."""
