"""The loss of the compact DINO: recognise each region of one crop in another crop.

InfoNCE with a momentum teacher, as in MoCo v3 (Chen et al., "An empirical study of training
self-supervised vision transformers", 2021), with regions in place of whole images.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """An MLP that maps region features [N, embed_dim] to unit vectors [N, bottleneck]."""

    def __init__(self, embed_dim: int, hidden: int = 512, bottleneck: int = 128) -> None:
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

    def forward(self, features: Tensor) -> Tensor:
        """Unit vectors [N, bottleneck], float32."""
        return F.normalize(self.mlp(features).float(), dim=-1, eps=1e-6)


def region_contrast(
    student: Tensor,
    teacher: Tensor,
    student_valid: Tensor,
    teacher_valid: Tensor,
    temperature: float = 0.1,
) -> Tensor:
    """InfoNCE over regions: identify a student's region among all regions of a teacher's crop.

    The candidates are the regions of the whole batch, including those of the same image.

    student: unit vectors [V, B, R, C]; the first T of the V crops are the teacher's.
    teacher: unit vectors [T, B, R, C]; they receive no gradient.
    student_valid, teacher_valid: bool [V, B, R] and [T, B, R].
    Returns the mean over all pairs of different crops and their common regions, or 0 without any.
    """
    loss = student.new_zeros(())
    terms = 0
    for t, (codes, teacher_has) in enumerate(zip(teacher.detach(), teacher_valid, strict=True)):
        keys = codes[teacher_has]
        key_index = teacher_has.flatten().cumsum(0).view_as(teacher_has) - 1
        for v in range(len(student)):
            common = student_valid[v] & teacher_has
            if v == t or not common.any():
                continue
            similarity = student[v][common] @ keys.T / temperature
            loss = loss + F.cross_entropy(similarity, key_index[common], reduction="sum")
            terms += int(common.sum())
    return loss / max(terms, 1)
