"""Eq. 6-8 against closed forms, float64 loops in NumPy, and numerical derivatives."""

import math

import numpy as np
import pytest
import torch

from umsam.training.distillation import (
    EPSILON,
    SMOOTH,
    class_contrastive_loss,
    class_feature_loss,
    prototypes,
    pseudo_label_losses,
    student_and_teacher_prototypes,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# ---- references: loops over single pixels and pairs


def softmax(row):
    shifted = np.exp(row - row.max())
    return shifted / shifted.sum()


def reference_ce_and_dice(logits, label):
    batch, classes, height, width = logits.shape
    ce, overlap, total = 0.0, np.zeros(classes), np.zeros(classes)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                p = softmax(logits[b, :, i, j])
                ce -= math.log(p[label[b, i, j]])
                for c in range(classes):
                    y = float(label[b, i, j] == c)
                    overlap[c] += p[c] * y
                    total[c] += p[c] + y
    dice = [(2 * overlap[c] + SMOOTH) / (total[c] + SMOOTH) for c in range(classes)]
    return ce / (batch * height * width), 1 - sum(dice) / classes


def reference_prototypes(features, weights, valid):
    batch, classes, height, width = weights.shape
    result = np.zeros((classes, features.shape[1]))
    for c in range(classes):
        weight = EPSILON
        for b in range(batch):
            for i in range(height):
                for j in range(width):
                    if valid[b, i, j]:
                        result[c] += features[b, :, i, j] * weights[b, c, i, j]
                        weight += weights[b, c, i, j]
        result[c] /= weight
    return result


def cosine(a, b):
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def reference_contrastive(g, g_teacher, tau):
    loss = 0.0
    for c in range(len(g)):
        positive = math.exp(cosine(g[c], g_teacher[c]) / tau)
        others = [j for j in range(len(g)) if j != c]
        negative = sum(math.exp(cosine(g[c], g_teacher[j]) / tau) for j in others)
        negative += sum(math.exp(cosine(g[c], g[j]) / tau) for j in others)
        loss -= math.log(positive / (positive + negative))
    return loss


# ---- eq. 6


@pytest.mark.parametrize("classes", [2, 3])
def test_cross_entropy_and_dice_equal_the_loops(classes):
    logits = random(3, classes, 5, 4)
    label = torch.from_numpy(np.random.default_rng(0).integers(classes, size=(3, 5, 4)))
    ours = [float(loss) for loss in pseudo_label_losses(logits, label)]
    assert ours == pytest.approx(reference_ce_and_dice(logits.numpy(), label.numpy()), abs=1e-12)


def test_perfect_and_opposite_predictions():
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    label[:, :2] = 1
    sure = 40.0 * (2 * torch.stack([1 - label, label], dim=1).double() - 1)
    assert [float(x) for x in pseudo_label_losses(sure, label)] == pytest.approx([0, 0], abs=1e-9)
    cross_entropy, dice = pseudo_label_losses(-sure, label)
    assert float(cross_entropy) == pytest.approx(80)
    assert float(dice) == pytest.approx(1, abs=1e-5)


def test_the_losses_of_huge_logits_stay_finite():
    logits = torch.full((1, 2, 4, 4), -1e4)
    logits[:, 0] = 1e4
    losses = pseudo_label_losses(logits.requires_grad_(), torch.ones(1, 4, 4))
    sum(losses).backward()
    assert all(torch.isfinite(x) for x in losses)
    assert torch.isfinite(logits.grad).all()


def test_an_empty_label_is_learned_as_background():
    label = torch.zeros(2, 4, 4)
    sure = torch.tensor([20.0, -20.0]).view(1, 2, 1, 1).expand(2, 2, 4, 4)
    _, right = pseudo_label_losses(sure, label)
    _, wrong = pseudo_label_losses(-sure, label)
    assert float(right) < 0.01
    assert float(wrong) > 0.99


# ---- eq. 7


def test_prototypes_equal_the_loops():
    features, weights = random(3, 7, 4, 5), random(3, 2, 4, 5, seed=1).softmax(dim=1)
    valid = random(3, 4, 5, seed=2) > -0.5
    ours = prototypes(features, weights, valid).numpy()
    expected = reference_prototypes(features.numpy(), weights.numpy(), valid.numpy())
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_constant_features_are_their_own_prototype():
    feature = random(6)
    features = feature.view(1, 6, 1, 1).expand(2, 6, 4, 4)
    weights = random(2, 2, 4, 4).softmax(dim=1)
    g = prototypes(features, weights, torch.ones(2, 4, 4, dtype=torch.bool))
    torch.testing.assert_close(g, feature.expand(2, 6), rtol=1e-5, atol=1e-6)


def test_probabilities_are_averaged_over_each_cell():
    """A probability of 1 on a quarter of a cell gives the cell the weight 1/4."""
    logits = torch.zeros(1, 2, 32, 32, dtype=torch.float64)
    logits[:, 0] = 60.0
    logits[:, :, :8, :8] = logits[:, :, :8, :8].flip(1)  # class 1 on a quarter of cell (0, 0)
    logits[:, :, 16:, 16:] = logits[:, :, 16:, 16:].flip(1)  # and on all of cell (1, 1)
    student, teacher = random(1, 5, 2, 2), random(1, 5, 2, 2, seed=1)
    valid = torch.ones(1, 2, 2, dtype=torch.bool)
    g, g_teacher = student_and_teacher_prototypes(logits, student, teacher, valid)
    for prototype, f in ((g, student), (g_teacher, teacher)):
        expected = (0.25 * f[0, :, 0, 0] + f[0, :, 1, 1]) / 1.25
        torch.testing.assert_close(prototype[1], expected, rtol=1e-5, atol=1e-6)


def test_invalid_places_do_not_matter():
    logits, student, teacher = random(2, 2, 32, 32), random(2, 5, 2, 2), random(2, 5, 2, 2, seed=1)
    valid = torch.tensor([[[1, 1], [1, 0]], [[0, 1], [1, 1]]], dtype=torch.bool)
    before = student_and_teacher_prototypes(logits, student, teacher, valid)
    hidden = ~valid[:, None].expand_as(student)
    student, teacher = student.clone(), teacher.clone()
    student[hidden], teacher[hidden] = 1e6, -1e6
    after = student_and_teacher_prototypes(logits, student, teacher, valid)
    for x, y in zip(before, after, strict=True):
        torch.testing.assert_close(x, y)


def test_order_and_split_of_the_batch_do_not_matter():
    """The sums run over the batch, so four small slices equal one wide slice in any order."""
    logits, student = random(4, 2, 32, 32), random(4, 5, 2, 2)
    teacher, valid = random(4, 5, 2, 2, seed=1), random(4, 2, 2, seed=2) > -1
    expected = student_and_teacher_prototypes(logits, student, teacher, valid)
    arguments = (logits, student, teacher, valid)
    shuffled = student_and_teacher_prototypes(*(x[[2, 0, 3, 1]] for x in arguments))
    wide = student_and_teacher_prototypes(*(torch.cat(list(x), -1)[None] for x in arguments))
    for other in (shuffled, wide):
        for x, y in zip(expected, other, strict=True):
            torch.testing.assert_close(x, y)


def test_class_feature_loss_sums_over_classes_and_channels():
    g, g_teacher = random(2, 256), random(2, 256, seed=1)
    expected = sum((a - b) ** 2 for a, b in zip(g.flatten(), g_teacher.flatten(), strict=True))
    assert float(class_feature_loss(g, g_teacher)) == pytest.approx(float(expected))
    assert float(class_feature_loss(torch.zeros(2, 256), torch.ones(2, 256))) == 512
    scaled = class_feature_loss(0.1 * g, 0.1 * g_teacher)
    assert float(class_feature_loss(g, g_teacher, scale=0.1)) == pytest.approx(float(scaled))
    assert float(class_feature_loss(g, g)) == 0


def test_an_absent_class_gives_finite_losses_and_gradients():
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 0] = 200.0  # the probability of class 1 is 0 in float32
    logits.requires_grad_()
    student, teacher = random(1, 5, 2, 2).float().requires_grad_(), random(1, 5, 2, 2).float()
    valid = torch.ones(1, 2, 2, dtype=torch.bool)
    g, g_teacher = student_and_teacher_prototypes(logits, student, teacher, valid)
    loss = class_feature_loss(g, g_teacher) + class_contrastive_loss(g, g_teacher, 0.5)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert torch.isfinite(logits.grad).all()


def test_half_precision_features_are_summed_in_float32():
    features = torch.full((4, 3, 64, 64), 100.0, dtype=torch.float16)  # their sum overflows fp16
    weights = torch.full((4, 2, 64, 64), 0.5, dtype=torch.float16)
    g = prototypes(features, weights, torch.ones(4, 64, 64, dtype=torch.bool))
    assert g.dtype == torch.float32
    torch.testing.assert_close(g, torch.full((2, 3), 100.0))


def test_detaching_the_teacher_changes_the_gradient_but_not_the_loss():
    student, teacher = random(2, 5, 2, 2), random(2, 5, 2, 2, seed=1)
    valid = torch.ones(2, 2, 2, dtype=torch.bool)
    losses, gradients = [], []
    for detach in (False, True):
        logits = random(2, 2, 32, 32).requires_grad_()
        pair = student_and_teacher_prototypes(logits, student, teacher, valid, detach)
        loss = class_feature_loss(*pair)
        loss.backward()
        losses.append(loss.item())
        gradients.append(logits.grad)
        assert pair[1].requires_grad is not detach
    assert losses[0] == losses[1]
    assert not torch.allclose(*gradients)


# ---- eq. 8


def test_the_contrastive_loss_has_its_closed_forms():
    """With C = 2 and tau = 0.5, each class has one positive and two negative pairs."""
    equal = torch.ones(2, 8, dtype=torch.float64)
    orthogonal = torch.eye(2, 8, dtype=torch.float64)
    opposite = torch.stack([torch.ones(8), -torch.ones(8)]).double()
    for g, expected in (
        (equal, 2 * math.log(3)),
        (orthogonal, 2 * math.log(1 + 2 * math.exp(-2))),
        (opposite, 2 * math.log(1 + 2 * math.exp(-4))),
    ):
        assert float(class_contrastive_loss(g, g, 0.5)) == pytest.approx(expected, abs=1e-12)
    values = [float(class_contrastive_loss(g, g, 0.5)) for g in (equal, orthogonal, opposite)]
    assert values == pytest.approx([2.197225, 0.479090, 0.071953], abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("tau", [0.07, 0.5, 2.0])
def test_the_contrastive_loss_equals_the_loop(classes, tau):
    g, g_teacher = random(classes, 16), random(classes, 16, seed=1)
    expected = reference_contrastive(g.numpy(), g_teacher.numpy(), tau)
    assert float(class_contrastive_loss(g, g_teacher, tau)) == pytest.approx(expected, abs=1e-12)


def test_the_contrastive_loss_depends_on_directions_only():
    g, g_teacher = random(2, 16), random(2, 16, seed=1)
    scaled = class_contrastive_loss(g * torch.tensor([[3.0], [0.1]]), 7 * g_teacher, 0.5)
    torch.testing.assert_close(class_contrastive_loss(g, g_teacher, 0.5), scaled)


def test_low_temperature_does_not_overflow():
    g = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert torch.isfinite(class_contrastive_loss(g, -g, tau=1e-3))


# ---- derivatives


def test_the_gradients_equal_numerical_derivatives():
    label = torch.from_numpy(np.random.default_rng(0).integers(2, size=(2, 32, 32)))
    valid = torch.tensor([[[1, 1], [1, 0]], [[0, 1], [1, 1]]], dtype=torch.bool)
    teacher = random(2, 3, 2, 2, seed=1)

    def losses(coarse, student):
        logits = coarse.repeat_interleave(8, -1).repeat_interleave(8, -2)
        g, g_teacher = student_and_teacher_prototypes(logits, student, teacher, valid)
        return (
            *pseudo_label_losses(logits, label),
            class_feature_loss(g, g_teacher),
            class_contrastive_loss(g, g_teacher, 0.5),
        )

    inputs = random(2, 2, 4, 4).requires_grad_(), random(2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(losses, inputs)
