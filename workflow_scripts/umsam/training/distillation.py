"""The losses of the triple knowledge distillation (eq. 6-9).

All sums use float32 or better, whatever the type of the features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # added to a class's total weight in eq. 7: an absent class gets a prototype near 0
SMOOTH = 1e-5  # smoothing term of the Dice loss


def pseudo_label_losses(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cross-entropy and Dice loss; their sum is the pseudo-label distillation (eq. 6).

    Parameters
    ----------
    logits
        [B, C, H, W].
    label
        Class indices [B, H, W].

    Returns
    -------
    cross_entropy, dice
        Scalars. The cross-entropy is the mean over all pixels. The Dice loss uses sums over the
        whole batch and is the mean over the classes, including the background.
    """
    logits = _at_least_float32(logits)
    label = label.long()
    log_p = F.log_softmax(logits, dim=1)
    cross_entropy = F.nll_loss(log_p, label)

    p = log_p.exp()
    y = F.one_hot(label, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    overlap = (p * y).sum(dim=(0, 2, 3))
    total = (p + y).sum(dim=(0, 2, 3))
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    return cross_entropy, 1 - dice.mean()


def prototypes(features: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """Average the features of the batch for each class, weighted by its probability (eq. 7).

    Parameters
    ----------
    features
        [B, D, h, w].
    weights
        Probabilities [B, C, h, w] on the same grid.
    valid
        The places that count, bool [B, h, w]. Features elsewhere may have any finite value.

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
    """Compute the prototypes g of the UNet and g' of SAM under the UNet's prediction (eq. 7).

    Parameters
    ----------
    logits
        [B, C, H, W]; their softmax P is average-pooled to the grid of the features.
    student, teacher
        Features of the UNet's bottleneck and of SAM at the same places, [B, D, h, w].
    valid
        See `prototypes`.
    detach_teacher_weights
        Literally, eq. 7 lets a gradient reach P through g' as well. True stops this gradient, so
        that SAM's prototypes are constants.
    """
    height, width = student.shape[-2:]
    p = F.adaptive_avg_pool2d(_at_least_float32(logits).softmax(dim=1), (height, width))
    p_teacher = p.detach() if detach_teacher_weights else p
    return prototypes(student, p, valid), prototypes(teacher, p_teacher, valid)


def class_feature_loss(g: Tensor, g_teacher: Tensor, scale: float = 1.0) -> Tensor:
    """Compute the class-level feature distillation (eq. 7).

    The squared distances of the prototypes [C, D] are summed over classes and channels. The weights
    in the paper assume this sum and the scale of the features of Meta's SAM. `scale` multiplies the
    distances, so that the features of another model reach the same scale.
    """
    return scale**2 * (g - g_teacher).square().sum()


def class_contrastive_loss(g: Tensor, g_teacher: Tensor, tau: float) -> Tensor:
    """Compute the class-level contrastive distillation (eq. 8), InfoNCE over cosine similarities.

    The positive pair of class c is (g^c, g'^c). The negative pairs are (g^c, g'^j) and (g^c, g^j)
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
