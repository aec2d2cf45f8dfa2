"""DINO's loss (Caron et al., 2021): the student's cross-entropy to a centred, sharpened teacher.

The same loss serves whole crops (class token) and regions (patch tokens pooled over the matching
region of two crops), so its arrays have any number of item axes between the crop axis and the
prototype axis.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """Features [N, embed_dim] to prototype scores [N, out_dim]: an MLP, then a cosine layer.

    The bottleneck is L2-normalised and the prototypes have unit length, as in DINO. Before that it
    is standardised over the batch (DINO's option of batch norm in the head): of the nearly equal
    features of a fresh backbone the centring would leave nothing, and the loss would stay at the
    logarithm of `out_dim` for longer than a short training lasts.
    """

    def __init__(self, embed_dim: int, out_dim: int, hidden: int = 512, bottleneck: int = 128):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.randn(out_dim, bottleneck) * bottleneck**-0.5)

    def code(self, features: Tensor, standardise: bool = True) -> Tensor:
        """Unit vectors [N, bottleneck]; contrast needs no `standardise`, it repels by itself."""
        code = self.mlp(features).float()
        if standardise and len(code):
            variance, mean = torch.var_mean(code, dim=0, correction=0)
            code = (code - mean) * (variance + 1e-6).rsqrt()
        return F.normalize(code, dim=-1, eps=1e-6)

    def scores(self, code: Tensor) -> Tensor:
        """Cosines of unit vectors [..., bottleneck] to the prototypes, [..., out_dim]."""
        return code @ F.normalize(self.prototypes.float(), dim=-1).T

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(self.code(features))


def dino_loss(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
    student_valid: Tensor | None = None,
    teacher_valid: Tensor | None = None,
) -> Tensor:
    """Mean over all pairs of different crops of -sum_k p_teacher log p_student.

    student: [V, ..., K] scores; the first T of the V crops are the teacher's.
    teacher: [T, ..., K] scores of the global crops; no gradient flows into them.
    centre: [K], subtracted from the teacher's scores before its softmax.
    student_valid, teacher_valid: bool [V, ...] and [T, ...], which items count; None means all.
    Returns a scalar, 0 if no pair is valid.
    """
    log_p = F.log_softmax(student.float() / student_temperature, dim=-1)
    target = F.softmax((teacher.detach().float() - centre) / teacher_temperature, dim=-1)
    crops, globals_ = log_p.shape[0], target.shape[0]
    if student_valid is None:
        student_valid = torch.ones(log_p.shape[:-1], dtype=torch.bool, device=log_p.device)
    if teacher_valid is None:
        teacher_valid = student_valid[:globals_]
    total = log_p.new_zeros(())
    pairs = log_p.new_zeros(())
    for t in range(globals_):
        for v in range(crops):
            if v == t:
                continue
            valid = student_valid[v] & teacher_valid[t]
            total = total - (target[t] * log_p[v]).sum(-1)[valid].sum()
            pairs = pairs + valid.sum()
    return total / pairs.clamp(min=1)


def region_contrast(
    student: Tensor,
    teacher: Tensor,
    student_valid: Tensor,
    teacher_valid: Tensor,
    temperature: float = 0.1,
) -> Tensor:
    """Find a region again among all of the batch, across crops (InfoNCE with a momentum teacher).

    As in MoCo v3 (Chen et al., 2021), with regions in place of images: of all the regions in the
    teacher's crop, those of the same image included, which is the student's?

    student: unit vectors [V, B, R, C]; the first T of the V crops are the teacher's.
    teacher: unit vectors [T, B, R, C]; no gradient flows into them.
    student_valid, teacher_valid: bool [V, B, R] and [T, B, R].
    Returns the mean over all pairs of different crops and their shared regions; 0 if there is none.
    """
    total = student.new_zeros(())
    pairs = 0
    for t, (codes, there) in enumerate(zip(teacher.detach(), teacher_valid, strict=True)):
        keys = codes[there]
        number = there.flatten().cumsum(0).view_as(there) - 1  # of a region among the keys
        for v in range(len(student)):
            shared = student_valid[v] & there
            if v == t or not shared.any():
                continue
            similarity = student[v][shared] @ keys.T / temperature
            total = total + F.cross_entropy(similarity, number[shared], reduction="sum")
            pairs += int(shared.sum())
    return total / max(pairs, 1)


@torch.no_grad()
def update_centre(
    centre: Tensor, teacher: Tensor, momentum: float = 0.9, valid: Tensor | None = None
) -> Tensor:
    """centre <- momentum * centre + (1 - momentum) * mean of the teacher's scores [..., K]."""
    items = teacher.detach().float().flatten(0, -2)
    if valid is not None:
        items = items[valid.flatten()]
    if len(items) == 0:
        return centre
    return momentum * centre + (1 - momentum) * items.mean(0)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Each of the teacher's weights <- momentum * itself + (1 - momentum) * the student's."""
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.mul_(momentum).add_(new.detach(), alpha=1 - momentum)
