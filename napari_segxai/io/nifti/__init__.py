"""NIfTI and FreeSurfer volumes, in and out."""
