"""Losses of the compact SAM: masks against nested targets, and the true IoU of what came out."""

import itertools

import torch
from torch.nn import functional as F

from umsam.pretraining.sam_samples import CHAIN


def mask_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus Dice of each mask: logits and target [..., M] to [...].

    The cross-entropy is divided by the geometric mean of image and object, so small objects count;
    pixels the edge runs through (targets are area-pooled) weigh up to three times.
    """
    weight = 1 + 8 * target * (1 - target)
    entropy = ((F.softplus(logits) - logits * target) * weight).mean(-1)
    entropy = entropy / (0.5 * target.mean(-1).clamp_min(1e-3).sqrt())
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(-1) + 1) / (p.sum(-1) + target.sum(-1) + 1)
    return entropy + dice


_PERMUTATIONS = torch.tensor(list(itertools.permutations(range(CHAIN))))


def match(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor):
    """Which target each of three outputs is trained on: logits, targets [N, 3, M], valid [N, 3].

    The valid targets go to different outputs, by the best sum of soft Dice over the six ways; an
    output left over takes the target it is nearest to, with a small weight, so that none dies.
    Gives the target's index [N, 3] and the weight [N, 3].
    """
    with torch.no_grad():
        p = logits.sigmoid()
        overlap = p @ targets.transpose(1, 2)
        dice = (
            2 * overlap / (p.sum(-1)[:, :, None] + targets.sum(-1)[:, None] + 1)
        )  # [N, out, target]
        dice = dice.masked_fill(~valid[:, None], 0)
        order = _PERMUTATIONS.to(logits.device)  # order[i, t]: the output target t goes to
        total = dice[:, order, torch.arange(CHAIN, device=logits.device)].sum(-1)
        best = order[total.argmax(1)]
        nearest = dice.masked_fill(~valid[:, None], -1).argmax(-1)
        index, weight = nearest.clone(), torch.full(valid.shape, 0.1, device=logits.device)
        for t in range(CHAIN):
            row = torch.nonzero(valid[:, t])[:, 0]
            index[row, best[row, t]] = t
            weight[row, best[row, t]] = 1.0
    return index, weight


def nested_loss(logits, targets, valid) -> torch.Tensor:
    """Mean mask loss of three outputs [N, 3, M] against up to three nested targets [N, 3, M]."""
    keep = valid.any(1)
    if not keep.any():
        return logits.sum() * 0
    logits, targets, valid = logits[keep], targets[keep], valid[keep]
    index, weight = match(logits, targets, valid)
    chosen = targets.gather(1, index[..., None].expand_as(targets))
    return (mask_loss(logits, chosen) * weight).sum() / weight.sum()


def true_iou(logits: torch.Tensor, targets: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """IoU [N, O] of each output with the best of its valid targets; 0 where there are none."""
    with torch.no_grad():
        mask, truth = (logits > 0).float(), (targets > 0.5).float()
        overlap = mask @ truth.transpose(1, 2)
        union = mask.sum(-1)[:, :, None] + truth.sum(-1)[:, None] - overlap
        iou = (overlap / union.clamp_min(1)).masked_fill(~valid[:, None], 0)
        return iou.amax(-1)


def gather_targets(targets: torch.Tensor, chain: torch.Tensor) -> torch.Tensor:
    """targets [B, K, h, w] in quarters, chain [B, P, CHAIN] to [B * P, CHAIN, h * w] in [0, 1]."""
    b = targets.shape[0]
    picked = targets[torch.arange(b, device=targets.device)[:, None, None], chain.clamp_min(0)]
    return picked.flatten(0, 1).flatten(2).float() / 4
