"""The losses of the triple knowledge distillation (eq. 6-9).

All sums are taken in float32 at least, whatever the features' type.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # of a class's total weight in eq. 7: an absent class has a prototype near zero
SMOOTH = 1e-5  # of the Dice loss


def pseudo_label_losses(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and Dice loss, whose sum is the pseudo-label distillation (eq. 6).

    Parameters
    ----------
    logits
        [B, C, H, W].
    target
        Class indices [B, H, W].

    Returns
    -------
    cross_entropy, dice
        Scalars. Cross-entropy is the mean over all pixels; Dice sums over the whole batch and is
        the mean over the classes, background included.
    """
    logits = _at_least_float32(logits)
    target = target.long()
    log_p = F.log_softmax(logits, dim=1)
    cross_entropy = F.nll_loss(log_p, target)

    p = log_p.exp()
    y = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    overlap = (p * y).sum(dim=(0, 2, 3))
    total = (p + y).sum(dim=(0, 2, 3))
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    return cross_entropy, 1 - dice.mean()


def prototypes(features: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """Mean feature of each class over the whole batch, weighted by its probability (eq. 7).

    Parameters
    ----------
    features
        [B, D, h, w].
    weights
        Probabilities [B, C, h, w] on the same grid.
    valid
        Bool [B, h, w]: the places that count. Features elsewhere may hold anything finite.

    Returns
    -------
    Tensor
        [C, D].
    """
    features, weights = _at_least_float32(features), _at_least_float32(weights)
    weights = weights * valid[:, None]
    sums = torch.einsum("bdhw,bchw->cd", features, weights)
    return sums / (weights.sum(dim=(0, 2, 3))[:, None] + EPSILON)


def student_and_teacher_prototypes(
    logits: Tensor,
    student: Tensor,
    teacher: Tensor,
    valid: Tensor,
    detach_teacher_weights: bool = False,
) -> tuple[Tensor, Tensor]:
    """The prototypes g of the UNet and g' of SAM under the UNet's own soft prediction (eq. 7).

    Parameters
    ----------
    logits
        [B, C, H, W]; their softmax P is area-pooled to the features' grid.
    student, teacher
        Features of the UNet's bottleneck and of SAM at the same places, [B, D, h, w].
    valid
        Bool [B, h, w], see `prototypes`.
    detach_teacher_weights
        Taken literally, eq. 7 lets a gradient reach P through g' too; True stops it, so that SAM's
        prototypes are mere targets.
    """
    p = F.adaptive_avg_pool2d(_at_least_float32(logits).softmax(dim=1), student.shape[-2:])
    p_teacher = p.detach() if detach_teacher_weights else p
    return prototypes(student, p, valid), prototypes(teacher, p_teacher, valid)


def class_feature_loss(g: Tensor, g_teacher: Tensor, unit: float = 1.0) -> Tensor:
    """Class-level feature distillation (eq. 7): squared distances of prototypes [C, D].

    Summed over classes and channels alike; the paper's weights of this term rest on that, and on
    the size of SAM's features. `unit` brings those of another model to that size: distances are
    multiplied by it before they are squared.
    """
    return unit**2 * (g - g_teacher).square().sum()


def class_contrastive_loss(g: Tensor, g_teacher: Tensor, tau: float) -> Tensor:
    """Class-level contrastive distillation (eq. 8): InfoNCE over cosine similarities.

    For each class the positive pair is (g^c, g'^c); the negatives are (g^c, g'^j) and (g^c, g^j)
    for the other classes j. `g` and `g_teacher` are prototypes [C, D]; `tau` is the temperature.
    """
    g, g_teacher = F.normalize(g, dim=1), F.normalize(g_teacher, dim=1)
    to_teacher = g @ g_teacher.T / tau
    to_student = g @ g.T / tau
    itself = torch.eye(len(g), dtype=torch.bool, device=g.device)
    candidates = torch.cat([to_teacher, to_student.masked_fill(itself, -torch.inf)], dim=1)
    return (candidates.logsumexp(dim=1) - to_teacher.diagonal()).sum()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
