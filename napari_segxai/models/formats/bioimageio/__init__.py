"""Models of bioimage.io: a folder with a description (rdf.yaml, bioimageio.yaml), read as data."""
