"""Licences, and PROVENANCE.md."""

from __future__ import annotations

import gzip
from pathlib import Path

from samples.builder import Builder, sha256
from samples.sources import SOURCES

MNI_NOTICE = """\
Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute,
McGill University. Permission to use, copy, modify, and distribute this software and its documentation for
any purpose and without fee is hereby granted, provided that the above copyright notice appear in all copies.
The authors and McGill University make no representations about the suitability of this software for any
purpose. It is provided "as is" without express or implied warranty. The authors are not responsible for any
data loss, equipment damage, property loss, or injury to subjects or patients resulting from the use or misuse
of this software package.
"""

PROVENANCE = """\
# Where the sample data come from

`scripts/build_samples.py` rebuilds every file from the packages named here and wrote this page;
`tests/models/test_samples.py` checks it. Files that say "unchanged" are byte-identical to their source; all others
were changed as said. Copyright notices: the Insight Toolkit, Copyright 1999-2019 Insight Software Consortium,
Copyright 2020 NumFOCUS; MediaPipe, Copyright The MediaPipe Authors; deepbet, Fashion-MNIST, nilearn and the
ICBM 152 template as in `LICENSES/`.

The photograph of the astronaut that the `selfie` network is shown with (Eileen Collins, NASA, public domain)
is not copied here: it comes with scikit-image as `skimage.data.astronaut()`.

The head (`images/t1_head.nii.gz`) is one person's T1-weighted MRI with 128x128x62 voxels of 2x2x3 mm, a test
image of ITK. Its brain mask is the result of a program, not drawn by hand.

The brain without a skull (`images/mni_t1.nii.gz`) is the average of 152 healthy young adults, the symmetric
ICBM 152 2009a template in the 1 mm version that comes with nilearn (BSD-3-Clause), brought to 2 mm. Its tissue
labels are made of the template's own maps of grey and white matter; nobody drew them. nilearn's page on the
template calls its licence unknown. `LICENSES/MNI-ICBM152.txt` is the notice that its makers publish with the
ICBM 152 templates of 2009, taken from copies of it that other projects keep. Please cite Fonov et al., Unbiased
average age-appropriate atlases for pediatric studies, NeuroImage 54, 313-327, 2011, and Unbiased nonlinear
average age-appropriate brain templates from birth to adulthood, NeuroImage 47, S102, 2009.

Of the Triangle images, `triangle_3.png` is there because the `triangle` network is wrong about it: it takes a
distractor near to the fourth corner of the square for a part of the object, and misses another part.

## Files

| file | sha256 | made from | how | licence | credit |
|---|---|---|---|---|---|
{files}

## Sources

| package | file in it | sha256 |
|---|---|---|
{sources}
"""


def build_licenses(builder: Builder) -> None:
    def copy(name: str, key: str, text: bytes, what: str) -> None:
        builder.write(f"LICENSES/{name}.txt", text, (key,), what, "-", "-")

    copy("Apache-2.0", "apache", builder.read("apache"), "unchanged; for the files from ITK and MediaPipe")
    copy("BSD-3-nilearn", "nilearn licence", builder.read("nilearn licence"), "unchanged")
    copy("MIT-deepbet", "deepbet licence", builder.read("deepbet licence"), "unchanged")
    section = gzip.decompress(builder.read("fashion licence")).split(b"## License")[1].strip() + b"\n"
    copy("MIT-Fashion-MNIST", "fashion licence", section, "its section on the licence")
    what = "the notice of the template's makers; not in the package, see above"
    builder.write("LICENSES/MNI-ICBM152.txt", MNI_NOTICE.encode(), (), what, "-", "-")


def write_provenance(builder: Builder) -> None:
    files = []
    for name, made_of, what, license, credit in sorted(builder.rows):
        checksum = sha256((builder.out / name).read_bytes())
        origin = ", ".join(f"`{Path(source.path).name}`" for source in made_of) or "-"
        files.append(f"| `{name}` | `{checksum}` | {origin} | {what} | {license} | {credit} |")
    sources = [
        f"| {source.package} | `{source.path.partition('/')[2]}` | `{source.sha256}` |"
        for source in SOURCES.values()
    ]
    text = PROVENANCE.format(files="\n".join(files), sources="\n".join(sources))
    (builder.out / "PROVENANCE.md").write_text(text, encoding="utf-8")
