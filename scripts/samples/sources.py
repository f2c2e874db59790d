"""The files of other packages that the samples are made from, with their checksums, and whom to credit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A file of a source package."""

    package: str
    path: str
    sha256: str


ITK = "insighttoolkit5-examples 5.2.1-5+deb12u1 (Debian)"
ITK_DATA = "insighttoolkit5-examples/usr/share/doc/insighttoolkit5-examples/examples/Data"
DEEPBET = "deepbet 1.0.2 (PyPI)"
NILEARN = "nilearn 0.14.1 (PyPI)"
NILEARN_DATA = "nilearn/nilearn/datasets/data"
FASHION = "dataset-fashion-mnist 0.0~git20200523.55506a9-1 (Debian)"
FASHION_DATA = "dataset-fashion-mnist/usr/share/datasets/fashion-mnist"

SOURCES = {
    "head": Source(
        ITK,
        f"{ITK_DATA}/KmeansTest_T1UCharRaw.nii.gz",
        "e0e5975587f3f7916804bdd317c493cdb99cdb3703bf2671d458528f62510327",
    ),
    "brain": Source(
        ITK,
        f"{ITK_DATA}/KmeansTest_T1RawSkullStrip.nii.gz",
        "f3ca85fa9559f7cc4b7c3ca862355cf0e7351505bdc62e3144b7fe6f6da37f3b",
    ),
    "deepbet": Source(
        DEEPBET,
        "deepbet/data/models/bbox_model.pt",
        "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    ),
    "deepbet licence": Source(
        DEEPBET,
        "deepbet/deepbet-1.0.2.dist-info/LICENSE",
        "a2c81e7ba9415de910516bcb2f83e76a9d8817586a2945934695df4d595adea5",
    ),
    "selfie": Source(
        "@mediapipe/selfie_segmentation 0.1.1675465747 (npm)",
        "selfie_segmentation/package/selfie_segmentation.tflite",
        "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
    ),
    "train images": Source(
        FASHION,
        f"{FASHION_DATA}/train-images-idx3-ubyte.gz",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    ),
    "train labels": Source(
        FASHION,
        f"{FASHION_DATA}/train-labels-idx1-ubyte.gz",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    ),
    "test images": Source(
        FASHION,
        f"{FASHION_DATA}/t10k-images-idx3-ubyte.gz",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    ),
    "test labels": Source(
        FASHION,
        f"{FASHION_DATA}/t10k-labels-idx1-ubyte.gz",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    ),
    "fashion licence": Source(
        FASHION,
        "dataset-fashion-mnist/usr/share/doc/dataset-fashion-mnist/README.md.gz",
        "17c9b80851c237f926dc7c446478eb9553b9d02ed36d088d6bf4731f958af762",
    ),
    "mni t1": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    ),
    "mni gm": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
        "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed",
    ),
    "mni wm": Source(
        NILEARN,
        f"{NILEARN_DATA}/mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
        "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db",
    ),
    "nilearn licence": Source(
        NILEARN,
        "nilearn/nilearn-0.14.1.dist-info/licenses/LICENSE",
        "51c7f2782990909d5c7a7aa31c9b7976fddb455b96519d1d599af1f303504a8c",
    ),
    "apache": Source(
        "base-files (Debian)",
        "base-files/usr/share/common-licenses/Apache-2.0",
        "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    ),
}

ITK_CREDIT = "Insight Software Consortium and NumFOCUS (the Insight Toolkit)"
DEEPBET_CREDIT = "Medical Machine Learning Lab, University of Münster (deepbet)"
MEDIAPIPE_CREDIT = "The MediaPipe Authors, Google LLC"
FASHION_CREDIT = "Zalando SE (Fashion-MNIST)"
MNI_CREDIT = "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University (ICBM 152)"
