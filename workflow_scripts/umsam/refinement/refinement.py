"""Refined labels: decoders that learn from the pseudo-labels of the other volumes.

On some slices the ROI of eq. 5 covers only a part of the target or another structure, or there is
no ROI. Such errors differ from volume to volume, whereas the target looks alike to SAM in all of
them. The training volumes are therefore divided into folds. For each fold, a small decoder of SAM's
embedding learns from the pseudo-labels of the other folds and labels the fold. Confident learning
(Northcutt et al., JAIR 2021) uses such out-of-fold predictions to find wrong labels; here they
replace all labels. The paper has no such step.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from umsam.data.field_of_view import View
from umsam.errors import InputError
from umsam.jobs import progress
from umsam.postprocessing import smooth_z
from umsam.refinement.decoder import Decoder, build_decoder, enlarge
from umsam.refinement.decoder_input import DecoderInput

FOLDS = 6
ROUNDS = 2  # each volume is labelled by the mean of so many decoders
STEPS = 300
BATCH_SIZE = 8  # slices
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
GAMMA = 0.3  # intensities are raised to a random power between exp(-GAMMA) and exp(GAMMA)

Shares = Mapping[str, NDArray[np.float32]]
"""Case -> the fraction of each cell that its label covers, [Z, side, side]."""


@dataclass(frozen=True)
class Member:
    """A decoder and the cases that it was trained on."""

    decoder: Decoder
    training_cases: list[str]


@dataclass(frozen=True)
class Refinement:
    """The fitted decoders and the threshold that turns their logits into labels.

    Attributes
    ----------
    members
        The decoders.
    threshold
        The smallest logit of a cell that belongs to the target.
    smooth_z
        Standard deviation in mm of a Gaussian over the logits of neighbouring slices; 0 for none.
    agreement
        DSC of the refined labels and the pseudo-labels over all cells of the training volumes. It
        measures how well the labels of the other volumes predict those of a volume.
    """

    members: list[Member]
    threshold: float
    smooth_z: float
    agreement: float

    def predict_logits(self, case: str, volume: DecoderInput) -> NDArray[np.float32]:
        """Predict the logits of a volume's cells, see `mean_logits`."""
        return mean_logits(self.members, case, volume, self.smooth_z)

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values, readable with ``weights_only=True``."""
        members = [
            {"decoder": member.decoder.state_dict(), "training_cases": member.training_cases}
            for member in self.members
        ]
        torch.save({**vars(self), "members": members}, path)


def load_refinement(path: str | Path) -> Refinement:
    """Load the file that `Refinement.save` wrote, on the CPU."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    members = []
    for member in state["members"]:
        weights = member["decoder"]
        decoder = build_decoder(len(weights["embedding.0.running_mean"]))
        decoder.load_state_dict(weights)
        members.append(Member(decoder.eval(), member["training_cases"]))
    return Refinement(**{**state, "members": members})


def draw_folds(cases: Sequence[str], seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the cases to learn from and the cases to label for each of `ROUNDS` x `FOLDS` decoders.

    Each round labels every case once. If there are fewer cases than folds, each case is a fold.
    """
    rng = np.random.default_rng(seed)
    number = min(FOLDS, len(cases))
    for _ in range(ROUNDS):
        order = [cases[i] for i in rng.permutation(len(cases))]
        for first in range(number):
            fold = order[first::number]
            yield [case for case in order if case not in fold], fold


def refine(
    volumes: Mapping[str, DecoderInput], shares: Shares, seed: int, smooth: float = 0.0
) -> Refinement:
    """Fit the decoders and the threshold to the training volumes.

    At the threshold, the refined labels cover the same fraction of all volumes as the labels that
    the decoders learn from. Otherwise decoders that are unsure of a border would draw it too
    narrow.

    With `smooth`, the decoders are fitted twice. The second time they learn from the thresholded,
    smoothed predictions of the first, which use the neighbouring slices.

    Parameters
    ----------
    volumes
        Case -> input of the decoders.
    shares
        Case -> fraction of each cell that the pseudo-label covers, [Z, side, side].
    seed
        Seed of the folds, the initial weights and the order of the slices.
    smooth
        Standard deviation in mm of a Gaussian over the logits of neighbouring slices; 0 for none.

    Raises
    ------
    InputError
        There are fewer than two volumes.
    """
    if len(volumes) < 2:
        raise InputError(
            "training.label_source: refined_labels of a volume are learned from the other training "
            f"volumes, and the training split has {len(volumes)}. Add volumes with split train to "
            "the sample sheet, or set training.label_source to pseudo_labels."
        )
    inside = {case: volume.inside for case, volume in volumes.items()}
    share = np.concatenate([shares[case][inside[case]] for case in volumes])
    covered_fraction, labels = float(share.mean(dtype=float)), shares
    for _ in range(2 if smooth else 1):
        members = fit_members(volumes, labels, seed)
        logits = {case: mean_logits(members, case, volumes[case], smooth) for case in volumes}
        all_logits = np.concatenate([logits[case][inside[case]] for case in volumes])
        threshold = math.inf
        if covered_fraction:
            threshold = float(np.quantile(all_logits, 1 - covered_fraction))
        labels = {case: (logits[case] >= threshold).astype(np.float32) for case in volumes}
    refined = all_logits >= threshold
    total = share.sum(dtype=float) + np.count_nonzero(refined)
    agreement = float(2 * share[refined].sum(dtype=float) / max(1.0, total))
    return Refinement(members, threshold, smooth, agreement)


def fit_members(volumes: Mapping[str, DecoderInput], shares: Shares, seed: int) -> list[Member]:
    """Fit a decoder for each of `draw_folds`; PyTorch's global generator keeps its state."""
    members, folds = [], list(draw_folds(list(volumes), seed))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for others, _ in progress(folds, len(folds), "decoders"):
            decoder = fit_decoder([(volumes[case], shares[case]) for case in others])
            members.append(Member(decoder, others))
    return members


def fit_decoder(volumes: Sequence[tuple[DecoderInput, NDArray[np.float32]]]) -> Decoder:
    """Fit a decoder to volumes and the labelled fraction of their cells.

    PyTorch's global generator draws the slices, which are read when they are drawn. The decoder is
    returned in evaluation mode.
    """
    decoder = build_decoder(volumes[0][0].features.shape[1]).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS)
    slices = [(*pair, z) for pair in volumes for z in range(len(pair[1]))]
    for _ in range(STEPS):
        batch = [slices[i] for i in torch.randint(len(slices), (BATCH_SIZE,)).tolist()]
        features = np.stack([volume.features[z] for volume, _, z in batch]).astype(np.float32)
        image = torch.from_numpy(np.stack([volume.image[z] for volume, _, z in batch]))
        share = torch.from_numpy(np.stack([share[z] for _, share, z in batch]))
        power = torch.exp(GAMMA * (2 * torch.rand(BATCH_SIZE, 1, 1) - 1))
        logits = decoder(torch.from_numpy(features), image.clamp(min=0) ** power)
        inside = ~image.isnan()
        loss = F.binary_cross_entropy_with_logits(logits[inside], share[inside])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return decoder.eval()


@torch.inference_mode()
def mean_logits(
    members: Sequence[Member], case: str, volume: DecoderInput, smooth: float = 0.0
) -> NDArray[np.float32]:
    """Average the decoders' logits of each cell.

    Only decoders that were not trained on the case contribute; for a new case, all contribute.

    Parameters
    ----------
    members
        The decoders.
    case
        Name of the volume.
    volume
        Input of the decoders.
    smooth
        Standard deviation in mm of a Gaussian over the logits of neighbouring slices; 0 for none.

    Returns
    -------
    Logits [Z, side, side].
    """
    unbiased = [member.decoder for member in members if case not in member.training_cases]
    result = np.zeros_like(volume.image)
    for z in range(len(result)):
        features = torch.from_numpy(np.asarray(volume.features[z : z + 1], np.float32))
        image = torch.from_numpy(volume.image[z : z + 1])
        logits = torch.cat([decoder(features, image) for decoder in unbiased])
        result[z] = logits.mean(dim=0).numpy()
    return smooth_z(result, smooth, volume.spacing)


def threshold_logits(
    logits: NDArray[np.float32], threshold: float, shape: tuple[int, int], view: View
) -> NDArray[np.uint8]:
    """Turn the logits of cells into a label of pixels.

    Parameters
    ----------
    logits
        Logits of the cells [Z, side, side]; interpolated to pixels.
    threshold
        The smallest logit of the target.
    shape
        Height and width of the slices in pixels.
    view
        The part of a slice that SAM saw; the label is empty outside it.

    Returns
    -------
    The label, uint8 [Z, *shape].
    """
    side = max(view.height, view.width)
    enlarged = enlarge(torch.from_numpy(logits)[:, None], (side, side))
    label = np.zeros((len(logits), *shape), np.uint8)
    label[:, *view.window] = enlarged[:, 0, : view.height, : view.width].numpy() >= threshold
    return label
