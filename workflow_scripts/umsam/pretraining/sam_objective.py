"""What the compact SAM is trained for: the loss of a batch, and how good the masks are."""

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn import functional as F

from umsam.pretraining.sam_decoding import (
    AnchorMasks,
    decode,
    encode,
    positions,
    upscale_embedding,
)
from umsam.pretraining.sam_losses import gather_targets, mask_loss, nested_loss, true_iou
from umsam.pretraining.sam_samples import collate, make_sample
from umsam.models.compact_sam import IMAGE_SIZE

WEIGHTS = {"anchor": 0.7, "hint": 0.5, "mask": 1.0, "single": 0.3, "score": 2.0}


def losses(
    sam: Sam, aux: AnchorMasks, batch: dict[str, torch.Tensor], decoder: bool = True
) -> dict[str, torch.Tensor]:
    """The parts of the loss on one batch, and `iou`: the mean best-of-three IoU over prompts.

    Without `decoder` only the loss of the anchors.
    """
    size = batch["image"].shape[-1]
    embedding = encode(sam, batch["image"])
    upscaled = upscale_embedding(sam.mask_decoder, embedding)
    # the prompts' first points are anchors too: what they give is a hint for the decoder
    anchor = torch.cat([batch["anchor"], batch["coords"][:, :, 0]], 1)
    anchors = batch["anchor"].shape[1]
    anchor_logits, vectors = aux(
        embedding, upscaled, positions(sam, anchor, size), (anchor + 0.5) / size
    )
    anchor_logits, hint = anchor_logits[:, :anchors], vectors[:, anchors:].detach().flatten(0, 1)
    anchor_valid = (batch["anchor_chain"] >= 0).flatten(0, 1)
    anchor_targets = gather_targets(batch["targets"], batch["anchor_chain"])
    anchor_loss = nested_loss(anchor_logits.flatten(0, 1).flatten(2), anchor_targets, anchor_valid)
    if not decoder:
        return {"anchor": anchor_loss}
    logits, predicted, vectors = decode(sam, embedding, batch["coords"], batch["labels"], size)
    point = (batch["labels"][:, :, 0] == 1).flatten()
    hint_loss = F.mse_loss(vectors[point, 1:].float(), hint[point]) / hint[point].var()
    logits, predicted = logits.float().flatten(2), predicted.float()
    valid = (batch["chain"] >= 0).flatten(0, 1)
    targets = gather_targets(batch["targets"], batch["chain"])
    wanted = gather_targets(batch["targets"], batch["wanted"][..., None])
    known = (batch["wanted"] >= 0).flatten()
    iou = true_iou(logits, targets, valid)
    return {
        "anchor": anchor_loss,
        "hint": hint_loss,
        "mask": nested_loss(logits[:, 1:], targets, valid),
        "single": mask_loss(logits[known, 0], wanted[known, 0]).mean()
        if known.any()
        else 0 * logits.sum(),
        "score": F.mse_loss(predicted, iou),
        "iou": iou[known, 1:].amax(1).mean() if known.any() else iou.sum(),
    }


def validate(sam: Sam, seed: int, scenes: int, size: int = IMAGE_SIZE) -> dict[str, float]:
    """Six points in objects and three on nothing in each of so many scenes, always the same."""
    best, chosen, predicted, true = [], [], [], []
    device = next(sam.parameters()).device
    sam.eval()
    with torch.inference_mode():
        for number in range(scenes):
            batch = collate([make_sample((seed, 2, number), size, 6, 0, 3, 1)])
            batch = {name: value.to(device) for name, value in batch.items()}
            embedding = encode(sam, batch["image"])
            logits, score, _ = decode(sam, embedding, batch["coords"], batch["labels"], size)
            valid = (batch["chain"] >= 0).flatten(0, 1)
            iou = true_iou(
                logits.flatten(2), gather_targets(batch["targets"], batch["chain"]), valid
            )[:, 1:]
            score = score[:, 1:]
            known = valid.any(1)
            best += iou[known].amax(1).tolist()
            chosen += iou[known].gather(1, score[known].argmax(1, keepdim=True))[:, 0].tolist()
            predicted += score.flatten().tolist()
            true += iou.flatten().tolist()
    best = np.array(best)
    return {
        "best": float(best.mean()),
        "best>0.5": float((best > 0.5).mean()),
        "best>0.7": float((best > 0.7).mean()),
        "chosen": float(np.mean(chosen)),
        "correlation": float(np.corrcoef(predicted, true)[0, 1]),
    }
