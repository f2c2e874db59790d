"""Between the docks and the viewer: layers, frames, picking, what is seen."""
