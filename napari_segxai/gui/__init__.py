"""The napari side: reader, writer, samples and dock widgets. The only place that imports napari or Qt."""
