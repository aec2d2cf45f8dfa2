"""The DINO loss, its centre and its teacher against float64 references and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from umsam.pretraining.dino_loss import (
    ProjectionHead,
    dino_loss,
    region_contrast,
    update_centre,
    update_teacher,
)


def reference_loss(student, teacher, centre, ts, tt, student_valid, teacher_valid):
    """A plain loop in float64 over pairs of different crops and over items."""
    terms = []
    for t in range(len(teacher)):
        for v in range(len(student)):
            if v == t:
                continue
            for item in np.ndindex(teacher.shape[1:-1]):
                if not (student_valid[(v, *item)] and teacher_valid[(t, *item)]):
                    continue
                p = softmax((teacher[(t, *item)] - centre) / tt)
                terms.append(-(p * log_softmax(student[(v, *item)] / ts)).sum())
    return np.mean(terms) if terms else 0.0


@pytest.mark.parametrize("items", [(5,), (3, 4)])
def test_loss_equals_a_float64_loop(items):
    rng = np.random.default_rng(0)
    student = rng.uniform(-1, 1, (5, *items, 7))
    teacher = rng.uniform(-1, 1, (2, *items, 7))
    centre = rng.uniform(-0.2, 0.2, 7)
    valid = rng.random((5, *items)) < 0.7
    ours = dino_loss(
        torch.tensor(student, dtype=torch.float32),
        torch.tensor(teacher, dtype=torch.float32),
        torch.tensor(centre, dtype=torch.float32),
        0.1,
        0.04,
        torch.tensor(valid),
    )
    assert float(ours) == pytest.approx(
        reference_loss(student, teacher, centre, 0.1, 0.04, valid, valid[:2]), rel=1e-5
    )


def test_loss_without_masks_counts_every_item():
    rng = np.random.default_rng(1)
    student, teacher = rng.normal(size=(3, 4, 6)), rng.normal(size=(2, 4, 6))
    everything = np.ones((3, 4), bool)
    ours = dino_loss(torch.tensor(student), torch.tensor(teacher), torch.zeros(6), 0.5, 0.3)
    expected = reference_loss(student, teacher, 0.0, 0.5, 0.3, everything, everything[:2])
    assert float(ours) == pytest.approx(expected, rel=1e-5)


def test_region_contrast_equals_a_float64_loop():
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(4, 3, 2, 5)), rng.normal(size=(2, 3, 2, 5))
    valid = rng.random((4, 3, 2)) < 0.7
    terms = []
    for t in range(2):
        keys = [(b, r) for b in range(3) for r in range(2) if valid[t, b, r]]
        for v in range(4):
            for b, r in keys:
                if v != t and valid[v, b, r]:
                    similarity = np.array([student[v, b, r] @ teacher[(t, *key)] for key in keys])
                    terms.append(-log_softmax(similarity / 0.3)[keys.index((b, r))])
    arrays = [torch.tensor(array) for array in (student, teacher, valid, valid[:2])]
    assert float(region_contrast(*arrays, 0.3)) == pytest.approx(np.mean(terms), rel=1e-9)


def test_region_contrast_of_equal_codes_costs_the_logarithm_of_the_regions():
    codes, valid = torch.ones(3, 4, 5, 6), torch.ones(3, 4, 5, dtype=torch.bool)
    loss = region_contrast(codes, codes[:2], valid, valid[:2])
    assert float(loss) == pytest.approx(math.log(20), rel=1e-6)


def test_region_contrast_reaches_the_student_only():
    student = torch.randn(3, 2, 2, 4, requires_grad=True)
    teacher = torch.randn(2, 2, 2, 4, requires_grad=True)
    valid = torch.ones(3, 2, 2, dtype=torch.bool)
    region_contrast(student, teacher, valid, valid[:2]).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert float(region_contrast(student, teacher, ~valid, ~valid[:2]).detach()) == 0


def test_flat_scores_cost_the_logarithm_of_the_prototypes():
    assert float(dino_loss(torch.zeros(4, 3, 50), torch.zeros(2, 3, 50), torch.zeros(50))) == (
        pytest.approx(math.log(50), rel=1e-6)
    )


def test_no_valid_pair_costs_nothing_and_can_be_differentiated():
    student = torch.randn(3, 2, 5, requires_grad=True)
    valid = torch.zeros(3, 2, dtype=torch.bool)
    loss = dino_loss(student, torch.randn(2, 2, 5), torch.zeros(5), student_valid=valid)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not student.grad.any()


def test_gradient_reaches_the_student_and_never_the_teacher():
    student = torch.randn(4, 3, 5, requires_grad=True)
    teacher = torch.randn(2, 3, 5, requires_grad=True)
    dino_loss(student, teacher, torch.zeros(5)).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_centre_after_n_equal_batches_has_its_closed_form():
    scores = torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])  # mean (2, -1)
    centre = torch.tensor([5.0, 5.0])
    for _ in range(7):
        centre = update_centre(centre, scores, momentum=0.9)
    mean, start = torch.tensor([2.0, -1.0]), torch.tensor([5.0, 5.0])
    torch.testing.assert_close(centre, mean + 0.9**7 * (start - mean))


def test_centre_skips_invalid_items():
    scores = torch.tensor([[[1.0, 2.0], [300.0, 300.0]]])
    centre = update_centre(torch.zeros(2), scores, 0.9, valid=torch.tensor([[True, False]]))
    torch.testing.assert_close(centre, torch.tensor([0.1, 0.2]))
    untouched = update_centre(centre, scores, 0.9, valid=torch.tensor([[False, False]]))
    torch.testing.assert_close(untouched, centre)


def test_teacher_of_a_still_student_has_its_closed_form():
    student, teacher = nn.Linear(3, 2), nn.Linear(3, 2)
    start = teacher.weight.detach().clone()
    for _ in range(5):
        update_teacher(teacher, student, momentum=0.8)
    expected = student.weight + 0.8**5 * (start - student.weight)
    torch.testing.assert_close(teacher.weight, expected)


def test_head_gives_cosines_of_the_standardised_bottleneck():
    head = ProjectionHead(12, out_dim=9, hidden=16, bottleneck=8)
    features = 1e-1 * torch.randn(20, 12) + 5
    scores = head(features).detach().numpy()
    code = head.mlp(features).detach().numpy().astype(np.float64)
    code = (code - code.mean(0)) / np.sqrt(code.var(0) + 1e-6)
    prototypes = head.prototypes.detach().numpy().astype(np.float64)
    norms = np.outer(np.linalg.norm(code, axis=1), np.linalg.norm(prototypes, axis=1))
    np.testing.assert_allclose(scores, code @ prototypes.T / norms, atol=1e-3)


@pytest.mark.parametrize("items", [0, 1])
def test_head_bears_few_items(items):
    head = ProjectionHead(12, out_dim=9)
    scores = head(torch.randn(items, 12))
    assert scores.shape == (items, 9)
    scores.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
