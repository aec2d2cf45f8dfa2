# What a job asks of its machine: memory (MB) and time (minutes) by the size of its volumes, and twice
# as much each time that it is tried again. The numbers are measured peaks with a margin (each log ends
# with its job's); a profile's `set-resources` replaces them. No rule here.
import math

from umsam.planning.headers import count_voxels

UNSEEN = 10.0  # million voxels of an image that is yet to be written or downloaded
SIZES = {}

# Everything mode: MB, and minutes a million voxels with a grid of 16 x 16 points, by the model of SAM.
# The others are meant for a GPU. ViT-L and ViT-H are set by the size of their weights, MobileSAM (vit_t)
# as ViT-B: not measured.
SAM = {
    "compact": (2000, 4),
    "vit_t": (6000, 2),
    "vit_b": (6000, 2),
    "vit_l": (10000, 2),
    "vit_h": (16000, 2),
}


def megavoxels(image):
    """Million voxels of an image, by its header."""
    if image not in SIZES:
        voxels = count_voxels(image)
        if voxels is None:
            return UNSEEN
        SIZES[image] = voxels / 1e6
    return SIZES[image]


def own_volume(wildcards):
    """Million voxels of the job's case."""
    return megavoxels(sample_of(wildcards).image)


def largest_volume(wildcards):
    """The same, of the largest case, for jobs that go through them one by one."""
    return max(megavoxels(sample.image) for sample in samples(wildcards.dataset))


def training_volumes_in_all(wildcards):
    """The same, of all training cases together."""
    return sum(megavoxels(s.image) for s in samples(wildcards.dataset) if s.split == "train")


def by_size(base, each, volume=own_volume):
    """A function that gives `base`, plus `each` a million voxels, doubled with each new attempt."""

    def amount(wildcards, attempt):
        return math.ceil((base + each * volume(wildcards)) * 2 ** (attempt - 1))

    return amount


def sam_memory(wildcards, attempt):
    base, _ = SAM[settings(wildcards.dataset)["sam"]["model"]]
    return by_size(base, 100)(wildcards, attempt)


def sam_minutes(wildcards, attempt):
    """Time grows with the number of points, the square of the grid's side."""
    sam = settings(wildcards.dataset)["sam"]
    _, each = SAM[sam["model"]]
    return by_size(15, each * max(1, (sam["points_per_side"] / 16) ** 2))(wildcards, attempt)
