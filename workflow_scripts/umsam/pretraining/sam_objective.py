"""The training loss of the compact SAM, and its validation."""

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn import functional as F

from umsam.models.compact_sam import IMAGE_SIZE
from umsam.pretraining.sam_decoding import (
    AnchorMasks,
    decode,
    encode,
    encode_positions,
    upscale_embedding,
)
from umsam.pretraining.sam_losses import gather_objects, mask_loss, nested_loss, true_iou
from umsam.pretraining.sam_samples import collate, make_sample

WEIGHTS = {"anchor": 0.7, "hint": 0.5, "mask": 1.0, "single": 0.3, "score": 2.0}


def losses(
    sam: Sam, aux: AnchorMasks, batch: dict[str, torch.Tensor], decoder: bool = True
) -> dict[str, torch.Tensor]:
    """The terms of the loss on a batch, and `iou`: the mean best-of-three IoU of the prompts.

    Without `decoder`, only the loss of the anchors.
    """
    size = batch["image"].shape[-1]
    embedding = encode(sam, batch["image"])
    upscaled = upscale_embedding(sam.mask_decoder, embedding)
    # The first points of the prompts are anchors, too; their vectors are a hint for the decoder.
    anchor = torch.cat([batch["anchor"], batch["coords"][:, :, 0]], 1)
    anchors = batch["anchor"].shape[1]
    anchor_logits, vectors = aux(
        embedding, upscaled, encode_positions(sam, anchor, size), (anchor + 0.5) / size
    )
    anchor_logits, hint = anchor_logits[:, :anchors], vectors[:, anchors:].detach().flatten(0, 1)
    anchor_valid = (batch["anchor_chain"] >= 0).flatten(0, 1)
    anchor_truth = gather_objects(batch["objects"], batch["anchor_chain"])
    anchor_loss = nested_loss(anchor_logits.flatten(0, 1).flatten(2), anchor_truth, anchor_valid)
    if not decoder:
        return {"anchor": anchor_loss}
    logits, predicted, vectors = decode(sam, embedding, batch["coords"], batch["labels"], size)
    point = (batch["labels"][:, :, 0] == 1).flatten()
    hint_loss = F.mse_loss(vectors[point, 1:].float(), hint[point]) / hint[point].var()
    logits, predicted = logits.float().flatten(2), predicted.float()
    valid = (batch["chain"] >= 0).flatten(0, 1)
    truth = gather_objects(batch["objects"], batch["chain"])
    prompted = gather_objects(batch["objects"], batch["object_index"][..., None])
    in_object = (batch["object_index"] >= 0).flatten()
    iou = true_iou(logits, truth, valid)
    return {
        "anchor": anchor_loss,
        "hint": hint_loss,
        "mask": nested_loss(logits[:, 1:], truth, valid),
        "single": mask_loss(logits[in_object, 0], prompted[in_object, 0]).mean()
        if in_object.any()
        else 0 * logits.sum(),
        "score": F.mse_loss(predicted, iou),
        "iou": iou[in_object, 1:].amax(1).mean() if in_object.any() else iou.sum(),
    }


def validate(sam: Sam, seed: int, scenes: int, size: int = IMAGE_SIZE) -> dict[str, float]:
    """Quality of masks and scores on a fixed set of scenes.

    Prompts: six points in objects and three on the background of each scene.
    Returns the mean best-of-three IoU and its shares above 0.5 and 0.7, the mean IoU of the mask
    with the best score, and the correlation of predicted and true IoU.
    """
    best_iou: list[float] = []
    chosen_iou: list[float] = []
    predicted_iou: list[float] = []
    all_iou: list[float] = []
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
                logits.flatten(2), gather_objects(batch["objects"], batch["chain"]), valid
            )[:, 1:]
            score = score[:, 1:]
            in_object = valid.any(1)
            best_iou += iou[in_object].amax(1).tolist()
            choice = score[in_object].argmax(1, keepdim=True)
            chosen_iou += iou[in_object].gather(1, choice)[:, 0].tolist()
            predicted_iou += score.flatten().tolist()
            all_iou += iou.flatten().tolist()
    best = np.array(best_iou)
    return {
        "best": float(best.mean()),
        "best>0.5": float((best > 0.5).mean()),
        "best>0.7": float((best > 0.7).mean()),
        "chosen": float(np.mean(chosen_iou)),
        "correlation": float(np.corrcoef(predicted_iou, all_iou)[0, 1]),
    }
