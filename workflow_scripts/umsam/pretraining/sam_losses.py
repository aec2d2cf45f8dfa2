"""Losses of the compact SAM: masks against nested objects, and the true IoU of the masks."""

import itertools

import torch
from torch.nn import functional as F

from umsam.pretraining.sam_samples import CHAIN


def mask_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus Dice loss of each mask; logits and truth [..., M] give [...].

    The cross-entropy is divided by the square root of the object's share of the image, so that
    small objects count. Pixels on an edge, where the area-pooled truth is fractional, have up to
    three times the weight of others.
    """
    weight = 1 + 8 * truth * (1 - truth)
    entropy = ((F.softplus(logits) - logits * truth) * weight).mean(-1)
    entropy = entropy / (0.5 * truth.mean(-1).clamp_min(1e-3).sqrt())
    p = logits.sigmoid()
    dice = 1 - (2 * (p * truth).sum(-1) + 1) / (p.sum(-1) + truth.sum(-1) + 1)
    return entropy + dice


_PERMUTATIONS = torch.tensor(list(itertools.permutations(range(CHAIN))))


def match_outputs(
    logits: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Assign an object to each of three outputs; logits and truth [N, 3, M], valid [N, 3].

    Valid objects go to different outputs; of the six permutations, the one with the largest sum of
    soft Dice is chosen. Each remaining output gets its most similar object with a small weight, so
    that every output is trained. Returns the objects' indices [N, 3] and the weights [N, 3].
    """
    with torch.no_grad():
        p = logits.sigmoid()
        overlap = p @ truth.transpose(1, 2)
        dice = 2 * overlap / (p.sum(-1)[:, :, None] + truth.sum(-1)[:, None] + 1)  # [N, 3, 3]
        dice = dice.masked_fill(~valid[:, None], 0)
        order = _PERMUTATIONS.to(logits.device)  # order[i, t]: output of object t
        total = dice[:, order, torch.arange(CHAIN, device=logits.device)].sum(-1)
        best = order[total.argmax(1)]
        nearest = dice.masked_fill(~valid[:, None], -1).argmax(-1)
        index, weight = nearest.clone(), torch.full(valid.shape, 0.1, device=logits.device)
        for t in range(CHAIN):
            row = torch.nonzero(valid[:, t])[:, 0]
            index[row, best[row, t]] = t
            weight[row, best[row, t]] = 1.0
    return index, weight


def nested_loss(logits: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean mask loss of three outputs [N, 3, M] against up to three nested objects [N, 3, M].

    valid: bool [N, 3], which objects exist. Returns 0 if none does.
    """
    keep = valid.any(1)
    if not keep.any():
        return logits.sum() * 0
    logits, truth, valid = logits[keep], truth[keep], valid[keep]
    index, weight = match_outputs(logits, truth, valid)
    matching = truth.gather(1, index[..., None].expand_as(truth))
    return (mask_loss(logits, matching) * weight).sum() / weight.sum()


def true_iou(logits: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """IoU [N, O] of each output with its most similar valid object; 0 without a valid object."""
    with torch.no_grad():
        mask, object_mask = (logits > 0).float(), (truth > 0.5).float()
        overlap = mask @ object_mask.transpose(1, 2)
        union = mask.sum(-1)[:, :, None] + object_mask.sum(-1)[:, None] - overlap
        iou = (overlap / union.clamp_min(1)).masked_fill(~valid[:, None], 0)
        return iou.amax(-1)


def gather_objects(objects: torch.Tensor, chain: torch.Tensor) -> torch.Tensor:
    """Object masks in [0, 1] by index, [B * P, C, h * w].

    objects: [B, K, h, w], quarters of a pixel (`count_quarters`).
    chain: [B, P, C], indices; -1 gives an arbitrary mask.
    """
    b = objects.shape[0]
    masks = objects[torch.arange(b, device=objects.device)[:, None, None], chain.clamp_min(0)]
    return masks.flatten(0, 1).flatten(2).float() / 4
