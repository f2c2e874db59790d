"""The cases of a cohort: how folders of images and truths are laid out, a file per layout."""
