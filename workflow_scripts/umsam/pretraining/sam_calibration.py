"""Calibration of the compact SAM after training: predicted IoU and stability of masks.

The mask generator selects masks by these two scores. Calibration adjusts them on separate scenes,
with grids of points as in everything mode, most of which lie in no object. It trains the IoU head,
and scales the logits by one temperature, folded into the weights, so that the median good mask has
a stability of 0.9. All other weights stay fixed.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn import functional as F

from umsam.models.compact_sam import IMAGE_SIZE
from umsam.pretraining.procedural import random_scene
from umsam.pretraining.sam_decoding import decode, encode
from umsam.pretraining.sam_losses import gather_objects, true_iou
from umsam.pretraining.sam_samples import chain_at, count_quarters

log = logging.getLogger(__name__)

OFFSETS = np.geomspace(0.02, 4.0, 30)
GOOD_IOU, GOOD_STABILITY = 0.7, 0.9


@dataclass(frozen=True)
class GridOutputs:
    """Outputs of a model for N grid points on held-out scenes."""

    token: torch.Tensor
    """[N, 256]: inputs of the IoU head, on the model's device."""
    iou: torch.Tensor
    """[N, 4]: true IoU of each output, on the model's device."""
    stability: torch.Tensor
    """[G, len(OFFSETS)]: stability at each offset, at the decoder's resolution, of the multimask
    outputs whose IoU is at least GOOD_IOU."""


def grid_outputs(
    sam: Sam, seed: int, scenes: int, side: int = 8, size: int = IMAGE_SIZE
) -> GridOutputs:
    """Run the model on a randomly shifted grid of `side` x `side` points on each of the scenes."""
    device = next(sam.parameters()).device
    tokens, ious, stabilities = [], [], []
    handle = sam.mask_decoder.iou_prediction_head.register_forward_pre_hook(
        lambda module, inputs: tokens.append(inputs[0].float())
    )
    with torch.inference_mode():
        for number in range(scenes):
            rng = np.random.default_rng((seed, 3, number))
            scene = random_scene(int(rng.integers(2**62)), size)
            axes = [(np.arange(side) + rng.random()) * size / side for _ in range(2)]
            grid = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
            labels = scene.innermost
            chains = [chain_at(labels, scene.parent, int(y), int(x)) for x, y in grid]
            coords = torch.zeros(1, len(grid), 2, 2)
            coords[0, :, 0] = torch.from_numpy(grid)
            kind = torch.tensor([1, -1]).expand(1, len(grid), 2)
            embedding = encode(sam, torch.from_numpy(scene.image)[None].to(device))
            logits = decode(sam, embedding, coords.to(device), kind.to(device), size)[0].flatten(2)
            chain = torch.tensor(chains, device=device)[None]
            truth = gather_objects(count_quarters(scene.masks)[None].to(device), chain)
            iou = true_iou(logits, truth, (chain >= 0)[0])
            ious.append(iou)
            good = logits[:, 1:][iou[:, 1:] >= GOOD_IOU]
            stabilities.append(
                torch.stack(
                    [(good > o).sum(-1) / (good > -o).sum(-1).clamp_min(1) for o in OFFSETS], -1
                )
            )
    handle.remove()
    return GridOutputs(torch.cat(tokens), torch.cat(ious), torch.cat(stabilities).cpu())


def fit_scores(sam: Sam, outputs: GridOutputs, seed: int, epochs: int = 30) -> None:
    """Train the IoU head, in place, to predict the true IoU on grids of points."""
    generator = torch.Generator().manual_seed(seed)
    head = sam.mask_decoder.iou_prediction_head
    token, iou = outputs.token.clone(), outputs.iou.clone()
    batches = math.ceil(len(token) / 256)
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-4, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for _ in range(epochs):
        for part in torch.randperm(len(token), generator=generator).split(256):
            optimiser.zero_grad()
            F.mse_loss(head(token[part]), iou[part]).backward()
            optimiser.step()
            schedule.step()
    sam.zero_grad(set_to_none=True)


def fit_temperature(sam: Sam, outputs: GridOutputs) -> float:
    """Scale the logits, in place, so that good masks have GOOD_STABILITY at an offset of 1.0.

    Returns the factor. With fewer than 20 good masks it is 1 and nothing changes.
    """
    if len(outputs.stability) < 20:
        return 1.0
    median = outputs.stability.median(0).values.numpy()  # decreases with the offset
    offset = float(np.interp(-GOOD_STABILITY, -median, OFFSETS))
    with torch.no_grad():
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight /= offset
            mlp.layers[-1].bias /= offset
    return 1 / offset


def calibrate(sam: Sam, seed: int, scenes: int, size: int = IMAGE_SIZE) -> None:
    """Fit scores and temperature, in place; log the correlation of predicted and true IoU."""
    outputs = grid_outputs(sam, seed, scenes, size=size)
    held_out = grid_outputs(sam, seed + 1, max(1, scenes // 8), size=size)

    def correlation() -> float:
        with torch.inference_mode():
            predicted = sam.mask_decoder.iou_prediction_head(held_out.token)
        pair = torch.stack([predicted[:, 1:].flatten(), held_out.iou[:, 1:].flatten()])
        return float(torch.corrcoef(pair)[0, 1])

    before = correlation()
    fit_scores(sam, outputs, seed)
    factor = fit_temperature(sam, outputs)
    log.info(
        "calibration: correlation of predicted and true IoU %.3f -> %.3f, logits x %.2f",
        before,
        correlation(),
        factor,
    )
