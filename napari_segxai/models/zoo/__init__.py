"""Architectures of the sample networks, and two U-Nets to train or to measure with.

A model card names them as ``napari_segxai.models.zoo.<module>:<Class>``. All return logits, none changes a
tensor in place, and their modules are named after what they do, since these are the names of the layers
that a user chooses from.
"""
