"""How large the experiments are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from napari_segxai.metrics.functional.chance import DRAWS

DATASETS = {
    "triangle": "Triangle images, our small U-Net",
    "photograph": "one photograph (astronaut), selfie network",
    "tissue": "blocks of an average brain, 3D tissue U-Net",
    "head": "one head MRI, 3D brain extraction network",
}


@dataclass(frozen=True)
class Settings:
    """How large the experiments are.

    Attributes
    ----------
    datasets
        Of `DATASETS`.
    images, sweep_images
        Triangle images of the tables, and of the sweeps, which need eleven runs of MiSuRe per image.
    blocks, block
        Blocks that are cut out of the brain, and their side in voxels (a multiple of 8).
    masks, masks_tissue, masks_head
        Masks of RISE: on 2D images, on blocks, on the head.
    iterations
        Steps of MiSuRe's pruning.
    seed
        Of the Triangle images and of RISE's masks.
    draws
        Random maps beside every number.
    labels
        Of the blocks, the first ones; all by default.
    cohort_images, cohort_graded, cohort_blocks
        Of the cohorts: Triangle images, such with failures of all degrees, and blocks of the brain.
    cohort_iterations
        Steps of pruning on the latter two.
    network_images, network_masks, networks
        Triangle images and masks of RISE for every network, and how many networks; all that are there by default.
    sweep_datasets
        Those whose cases are swept; of the blocks, the first one's white matter.
    processes, threads
        How many processes run side by side, and threads of torch in each.
    note
        What else should be known of the run.
    """

    datasets: tuple[str, ...] = tuple(DATASETS)
    images: int = 8
    sweep_images: int = 8
    blocks: int = 1
    block: int = 24
    masks: int = 2000
    masks_tissue: int = 500
    masks_head: int = 100
    iterations: int = 100
    seed: int = 1
    draws: int = DRAWS
    labels: int | None = None
    network_images: int = 6
    network_masks: int = 250
    networks: int | None = None
    cohort_images: int = 150
    cohort_graded: int = 100
    cohort_blocks: int = 12
    cohort_iterations: int = 40
    sweep_datasets: tuple[str, ...] = ("triangle", "photograph", "tissue")
    processes: int = 1
    threads: int = 1
    note: str = ""

    def full(self) -> Settings:
        """As large as the papers, as far as the data go."""
        return replace(
            self, images=150, sweep_images=150, blocks=4, masks=2000, masks_tissue=2000, masks_head=2000
        )

    def quick(self) -> Settings:
        """Small enough for a test; its numbers mean nothing."""
        return replace(
            self,
            datasets=("triangle", "tissue"),
            images=2,
            sweep_images=1,
            block=16,
            masks=110,
            masks_tissue=20,
            iterations=2,
            draws=2,
            labels=1,
            network_images=1,
            network_masks=20,
            networks=1,
            cohort_images=2,
            cohort_graded=0,
            cohort_blocks=2,
            cohort_iterations=1,
            sweep_datasets=("triangle",),
        )
