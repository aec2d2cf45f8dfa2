"""Pseudo-labels learnt once more, by networks that did not see the volume's own.

On some slices the ROI of eq. 5 is a part of the target, or another thing, or there is none. What is
wrong so differs from volume to volume, while the target looks alike to SAM in all. So the training
volumes are dealt into folds, a small decoder of SAM's embedding learns from the pseudo-labels of
the other folds where the target is, and labels the fold. Labels that come from outside the fold
are what confident learning (Northcutt et al., JAIR 2021) finds wrong labels with; here they replace
them. The paper has no such step.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from umsam.data.volumes import Volume, read_volume
from umsam.errors import InputError
from umsam.jobs import progress
from umsam.postprocessing import smooth_z
from umsam.data.field_of_view import View, view_of
from umsam.pseudo_labels.roi_features import in_square, pixels_in_patches

FOLDS = 6
ROUNDS = 2  # of dealing: every volume is labelled by the mean of so many decoders
WIDTH = 16
DROPOUT = 0.3
LEAST_SIDE = 96
STEPS = 300
BATCH = 8  # slices
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
GAMMA = 0.3  # intensities are raised to a random power between exp(-GAMMA) and exp(GAMMA)


@dataclass(frozen=True)
class SeenVolume:
    """What there is of one volume: SAM's features [Z, D, h, w], the image [Z, side, side].

    Both cover the square that SAM saw of a slice; the image is nan where a cell's centre is not in
    the view, for SAM pads at the right or bottom. `side` is that of `grid_side`, `step` the
    distance of slices in mm.
    """

    features: NDArray[np.floating]  # memory-mapped
    image: NDArray[np.float32]
    step: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The cells whose centre is in the view, [Z, side, side]."""
        return ~np.isnan(self.image)


class Decoder(nn.Module):
    """SAM's features [B, D, h, w] and the image [B, S, S] in, log odds of the target [B, S, S] out.

    SAM's embedding tells what is where, but its cells are coarse; the image has the edges.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            nn.BatchNorm2d(dimension, affine=False),
            nn.Conv2d(dimension, WIDTH, 1),
            nn.ReLU(),
            nn.Dropout2d(DROPOUT),
        )
        self.edges = nn.Sequential(_convolution(1, 8), _convolution(8, 8))
        self.coarse = nn.Sequential(nn.MaxPool2d(2), _convolution(8, 16))
        self.join_coarse = _convolution(WIDTH + 16, WIDTH)
        self.join_edges = _convolution(WIDTH + 8, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        image = image.nan_to_num()[:, None].contiguous(memory_format=torch.channels_last)
        edges = self.edges(image)
        coarse = self.coarse(edges)
        x = _enlarged(self.embedding(features), coarse.shape[-2:])
        x = self.join_coarse(torch.cat([x, coarse], dim=1))
        x = self.join_edges(torch.cat([_enlarged(x, edges.shape[-2:]), edges], dim=1))
        return self.head(x)[:, 0]


@dataclass(frozen=True)
class Member:
    """A decoder and the cases that it has learnt from."""

    decoder: Decoder
    learnt_from: list[str]


@dataclass(frozen=True)
class Refinement:
    """What labels volumes anew.

    Attributes
    ----------
    members
        The decoders, each with what it has seen.
    threshold
        The log odds from which a cell counts.
    smooth_z
        Deviation in mm of the Gaussian mean of log odds over slices; 0: none.
    agreement
        DSC of the refined with the given labels, over all cells of the training volumes: how much
        of what the labels of a volume show can be told from those of the others.
    """

    members: list[Member]
    threshold: float
    smooth_z: float
    agreement: float

    def odds(self, case: str, volume: SeenVolume) -> NDArray[np.float32]:
        """`log_odds` by its members."""
        return log_odds(self.members, case, volume, self.smooth_z)

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values, readable with ``weights_only=True``."""
        members = [(m.decoder.state_dict(), m.learnt_from) for m in self.members]
        torch.save({**vars(self), "members": members}, path)


def load_refinement(path: str | Path) -> Refinement:
    """What `Refinement.save` wrote, on the CPU."""
    read = torch.load(path, map_location="cpu", weights_only=True)
    members = []
    for weights, learnt_from in read["members"]:
        decoder = Decoder(len(weights["embedding.0.running_mean"]))
        decoder.to(memory_format=torch.channels_last)
        decoder.load_state_dict(weights)
        members.append(Member(decoder.eval(), learnt_from))
    return Refinement(**{**read, "members": members})


def grid_side(cells: int) -> int:
    """Cells along a side of the decoders' grid, where SAM's embedding has `cells`."""
    return max(LEAST_SIDE, 2 * cells)


def means_of_cells(slices: NDArray, view: View, cells: int) -> NDArray[np.float32]:
    """Mean of each cell of a grid over what SAM saw of slices: [Z, H, W] to [Z, cells, cells].

    Of the cell's part in the view; nan where its centre is outside. The mean of a mask is the
    share of a cell that is in it.
    """
    seen = in_square(slices[:, *view.window])
    side = seen.shape[-1]
    of_view = in_square(np.ones((1, view.height, view.width), bool))
    area = pixels_in_patches(of_view, cells, cells)
    centres = (np.arange(cells) + 0.5) * (side / cells)
    inside = (centres[:, None] < view.height) & (centres < view.width)
    means = pixels_in_patches(seen, cells, cells) / np.where(inside, area, 1)
    return np.where(inside, means, np.nan).astype(np.float32)


def read_seen(
    volume: str | Path, features: str | Path, side: float | None
) -> tuple[Volume, View, SeenVolume]:
    """A volume, what SAM saw of its slices (`view_of` with `side`), and it as the decoders take it.

    The features [Z, D, h, w] of the view are memory-mapped.
    """
    read = read_volume(volume)
    view = view_of(read.array.shape[1:], read.spacing[1:], side)
    cells = np.load(features, mmap_mode="r")
    image = means_of_cells(read.array, view, grid_side(cells.shape[-1]))
    return read, view, SeenVolume(cells, image, read.spacing[0])


def folds(cases: Sequence[str], seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """The cases to learn from and those to label, for each of `ROUNDS` x `FOLDS` decoders.

    In each round every case is labelled once. With fewer cases than folds each is its own fold.
    """
    rng = np.random.default_rng(seed)
    number = min(FOLDS, len(cases))
    for _ in range(ROUNDS):
        order = [cases[i] for i in rng.permutation(len(cases))]
        for first in range(number):
            labelled = order[first::number]
            yield [case for case in order if case not in labelled], labelled


def refine(
    volumes: Mapping[str, SeenVolume],
    shares: Mapping[str, NDArray[np.float32]],
    seed: int,
    smooth: float = 0.0,
) -> Refinement:
    """Fit the decoders to the training volumes, by case, and the threshold.

    At the threshold the refined labels cover as much, over all volumes, as the labels they are
    learnt from: decoders that are unsure of a border would else draw it too narrow.

    With `smooth` the decoders are fitted twice, then to what the first ones have found: it knows of
    the neighbouring slices, which the pseudo-labels do not.

    Parameters
    ----------
    shares
        The share of each cell that is in the volume's pseudo-label, [Z, side, side].
    smooth
        Deviation in mm of the Gaussian mean of log odds over slices; 0: none.

    Raises
    ------
    InputError
        There are fewer than two volumes.
    """
    if len(volumes) < 2:
        raise InputError(
            "training.targets: refined_labels are learnt from other volumes than the one that they "
            f"are for, and the training split has {len(volumes)}. Add some to the sample sheet, or "
            "set training.targets to pseudo_labels."
        )
    inside = {case: volume.inside for case, volume in volumes.items()}
    share = np.concatenate([shares[case][inside[case]] for case in volumes])
    wanted, learnt = float(share.mean(dtype=float)), shares
    for _ in range(2 if smooth else 1):
        members = fit_members(volumes, learnt, seed)
        odds = {case: log_odds(members, case, volumes[case], smooth) for case in volumes}
        all_odds = np.concatenate([odds[case][inside[case]] for case in volumes])
        threshold = float(np.quantile(all_odds, 1 - wanted)) if wanted else math.inf
        learnt = {case: (odds[case] >= threshold).astype(np.float32) for case in volumes}
    found = all_odds >= threshold
    either = share.sum(dtype=float) + np.count_nonzero(found)
    agreement = float(2 * share[found].sum(dtype=float) / max(1.0, either))
    return Refinement(members, threshold, smooth, agreement)


def fit_members(
    volumes: Mapping[str, SeenVolume], shares: Mapping[str, NDArray[np.float32]], seed: int
) -> list[Member]:
    """A decoder for each of `folds`. PyTorch's global generator is left as it was."""
    members, dealt = [], list(folds(list(volumes), seed))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for others, _ in progress(dealt, len(dealt), "decoders"):
            decoder = fit_decoder([(volumes[case], shares[case]) for case in others])
            members.append(Member(decoder, others))
    return members


def fit_decoder(volumes: Sequence[tuple[SeenVolume, NDArray[np.float32]]]) -> Decoder:
    """Learn from volumes and the shares of their cells that are labelled; in evaluation mode.

    Slices are read as they are drawn, from PyTorch's global generator.
    """
    decoder = Decoder(volumes[0][0].features.shape[1]).train()
    decoder.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(decoder.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS)
    slices = [(*pair, z) for pair in volumes for z in range(len(pair[1]))]
    for _ in range(STEPS):
        drawn = [slices[i] for i in torch.randint(len(slices), (BATCH,)).tolist()]
        features = np.stack([volume.features[z] for volume, _, z in drawn]).astype(np.float32)
        image = torch.from_numpy(np.stack([volume.image[z] for volume, _, z in drawn]))
        share = torch.from_numpy(np.stack([share[z] for _, share, z in drawn]))
        power = torch.exp(GAMMA * (2 * torch.rand(BATCH, 1, 1) - 1))
        odds = decoder(torch.from_numpy(features), image.clamp(min=0) ** power)
        inside = ~image.isnan()
        loss = F.binary_cross_entropy_with_logits(odds[inside], share[inside])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return decoder.eval()


@torch.inference_mode()
def log_odds(
    members: Sequence[Member], case: str, volume: SeenVolume, smooth: float = 0.0
) -> NDArray[np.float32]:
    """Of each cell of the decoders' grid: [Z, side, side], the mean over decoders.

    Those that have learnt from the case have no say; for a case that none has learnt from, all do.
    With `smooth` the Gaussian mean over slices, of so many mm.
    """
    unbiased = [member.decoder for member in members if case not in member.learnt_from]
    result = np.zeros_like(volume.image)
    for z in range(len(result)):
        features = torch.from_numpy(np.asarray(volume.features[z : z + 1], np.float32))
        image = torch.from_numpy(volume.image[z : z + 1])
        odds = torch.cat([decoder(features, image) for decoder in unbiased])
        result[z] = odds.mean(dim=0).numpy()
    return smooth_z(result, smooth, volume.step)


def refined_label(
    odds: NDArray[np.float32], threshold: float, shape: tuple[int, int], view: View
) -> NDArray[np.uint8]:
    """Pixels [Z, *shape] whose log odds, between those of the cells, reach the threshold.

    Outside of the view none does.
    """
    side = max(view.height, view.width)
    enlarged = _enlarged(torch.from_numpy(odds)[:, None], (side, side))
    label = np.zeros((len(odds), *shape), np.uint8)
    label[:, *view.window] = enlarged[:, 0, : view.height, : view.width].numpy() >= threshold
    return label


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
