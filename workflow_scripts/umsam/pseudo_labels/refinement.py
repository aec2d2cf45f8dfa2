"""Pseudo-labels learnt once more, by networks on SAM's features that did not see the volume's own.

On some slices the ROI of eq. 5 is a part of the target, or another thing, or there is none. What is
wrong so differs from volume to volume, while the target looks alike to SAM in all. So the training
volumes are dealt into folds, a small network learns from the pseudo-labels of the other folds where
the target is, place by place, and labels the fold. Labels that come from outside the fold are what
confident learning (Northcutt et al., JAIR 2021) finds wrong labels with; here they replace them.
The paper has no such step.
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

from umsam.errors import InputError
from umsam.pseudo_labels.field_of_view import View
from umsam.pseudo_labels.roi_features import in_square, pixels_in_patches

FOLDS = 10
ROUNDS = 3  # of dealing: every volume is labelled by the mean of so many networks
HIDDEN = 64
DROPOUT = 0.3
STEPS = 600
BATCH = 1024  # places
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
MOST_PLACES = 500_000  # in memory; of more, so many are drawn at random


@dataclass(frozen=True)
class LabelledFeatures:
    """SAM's features of one volume [Z, D, h, w] and the share of each cell in its label [Z, h, w].

    A share is nan where a cell's centre is outside of the view: SAM pads at the right or bottom.
    """

    features: NDArray[np.floating]  # memory-mapped
    share: NDArray[np.float32]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The cells whose centre is in the view, [Z, h, w]."""
        return ~np.isnan(self.share)


class PlaceNetwork(nn.Module):
    """Features [N, D] of places in, the log odds [N] that they are the target's out."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("deviation", torch.ones(dimension))
        self.layers = nn.Sequential(
            nn.Linear(dimension, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers((features - self.mean) / self.deviation)[:, 0]


@dataclass(frozen=True)
class Refinement:
    """What labels volumes anew.

    Attributes
    ----------
    networks, learnt_from
        And the cases that each has learnt from.
    threshold
        The log odds from which a place counts.
    agreement
        DSC of the refined with the given labels, over all places of the training volumes: how much
        of what the labels of a volume show can be told from those of the others.
    """

    networks: list[PlaceNetwork]
    learnt_from: list[list[str]]
    threshold: float
    agreement: float

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values, readable with ``weights_only=True``."""
        weights = [network.state_dict() for network in self.networks]
        torch.save({**vars(self), "networks": weights}, path)


def load_refinement(path: str | Path) -> Refinement:
    """What `Refinement.save` wrote, on the CPU."""
    read = torch.load(path, map_location="cpu", weights_only=True)
    networks = []
    for weights in read["networks"]:
        network = PlaceNetwork(len(weights["mean"]))
        network.load_state_dict(weights)
        networks.append(network.eval())
    return Refinement(**{**read, "networks": networks})


def share_of_cells(masks: NDArray[np.bool_], view: View, cells: int) -> NDArray[np.float32]:
    """How much of each cell of SAM's embedding is in the masks: [Z, H, W] to [Z, cells, cells].

    Of the cell's part in the view; nan where its centre is outside.
    """
    seen = in_square(masks[:, *view.window])
    side = seen.shape[-1]
    of_view = in_square(np.ones((1, view.height, view.width), bool))
    area = pixels_in_patches(of_view, cells, cells)
    centres = (np.arange(cells) + 0.5) * (side / cells)
    inside = (centres[:, None] < view.height) & (centres < view.width)
    share = pixels_in_patches(seen, cells, cells) / np.where(inside, area, 1)
    return np.where(inside, share, np.nan).astype(np.float32)


def folds(cases: Sequence[str], seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """The cases to learn from and those to label, for each of `ROUNDS` x `FOLDS` networks.

    In each round every case is labelled once. With fewer cases than folds each is its own fold.
    """
    rng = np.random.default_rng(seed)
    number = min(FOLDS, len(cases))
    for _ in range(ROUNDS):
        order = [cases[i] for i in rng.permutation(len(cases))]
        for first in range(number):
            labelled = order[first::number]
            yield [case for case in order if case not in labelled], labelled


def refine(volumes: Mapping[str, LabelledFeatures], seed: int) -> Refinement:
    """Fit the networks to the training volumes, by case, and the threshold.

    At the threshold the refined labels cover as much, over all volumes, as the labels they are
    learnt from: networks that are unsure of a border would else draw it too narrow.

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
    places = _draw(volumes, np.random.default_rng(seed))
    networks, learnt_from = [], []
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for others, _ in folds(list(volumes), seed):
            features, shares = (torch.cat([places[case][i] for case in others]) for i in (0, 1))
            networks.append(fit_network(features, shares))
            learnt_from.append(others)
    shares = np.concatenate([volume.share[volume.inside] for volume in volumes.values()])
    odds = np.concatenate(
        [
            log_odds(networks, learnt_from, case, volume.features)[volume.inside]
            for case, volume in volumes.items()
        ]
    )
    wanted = float(shares.mean(dtype=float))
    threshold = float(np.quantile(odds, 1 - wanted)) if wanted else math.inf
    found = odds >= threshold
    either = shares.sum(dtype=float) + np.count_nonzero(found)
    agreement = float(2 * shares[found].sum(dtype=float) / max(1.0, either))
    return Refinement(networks, learnt_from, threshold, agreement)


def fit_network(features: Tensor, shares: Tensor) -> PlaceNetwork:
    """Learn from places [N, D] and the share [N] of each that is labelled; in evaluation mode.

    Draws from PyTorch's global generator.
    """
    network = PlaceNetwork(features.shape[1]).train()
    network.mean.copy_(features.mean(dim=0))
    network.deviation.copy_(features.std(dim=0).clamp(min=1e-6))
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        at = torch.randint(len(features), (BATCH,))
        loss = F.binary_cross_entropy_with_logits(network(features[at]), shares[at])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.inference_mode()
def log_odds(
    networks: Sequence[PlaceNetwork],
    learnt_from: Sequence[Sequence[str]],
    case: str,
    features: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Of each cell of SAM's features [Z, D, h, w]: [Z, h, w], the mean over networks.

    Those that have learnt from the case have no say; for a case that none has learnt from, all do.
    """
    pairs = zip(networks, learnt_from, strict=True)
    unbiased = [network for network, cases in pairs if case not in cases]
    result = np.zeros((len(features), *features.shape[2:]), np.float32)
    for z in range(len(features)):
        slice_ = torch.from_numpy(np.asarray(features[z], np.float32))
        cells = slice_.flatten(1).T
        odds = torch.stack([network(cells) for network in unbiased]).mean(dim=0)
        result[z] = odds.reshape(slice_.shape[1:]).numpy()
    return result


def refined_label(
    odds: NDArray[np.float32], threshold: float, shape: tuple[int, int], view: View
) -> NDArray[np.uint8]:
    """Pixels [Z, *shape] whose log odds, between those of the cells [Z, h, w], reach the threshold.

    Outside of the view none does.
    """
    side = max(view.height, view.width)
    enlarged = F.interpolate(
        torch.from_numpy(odds)[:, None], (side, side), mode="bilinear", align_corners=False
    )
    label = np.zeros((len(odds), *shape), np.uint8)
    label[:, *view.window] = enlarged[:, 0, : view.height, : view.width].numpy() >= threshold
    return label


def _draw(
    volumes: Mapping[str, LabelledFeatures], rng: np.random.Generator
) -> dict[str, tuple[Tensor, Tensor]]:
    """Features float32 [N, D] and shares [N] of places of each volume, `MOST_PLACES` in all."""
    total = sum(np.count_nonzero(volume.inside) for volume in volumes.values())
    part = min(1.0, MOST_PLACES / total)
    places = {}
    for case, volume in volumes.items():
        chosen = volume.inside & (rng.random(volume.share.shape) < part)
        features = [
            np.asarray(volume.features[z], np.float32)[:, where] for z, where in enumerate(chosen)
        ]
        places[case] = (
            torch.from_numpy(np.concatenate(features, axis=1).T.copy()),
            torch.from_numpy(volume.share[chosen]),
        )
    return places
