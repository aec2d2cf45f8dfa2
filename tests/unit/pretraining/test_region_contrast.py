"""The region contrast against a float64 loop and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from umsam.pretraining.region_contrast import ProjectionHead, region_contrast


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


def test_equal_codes_cost_the_logarithm_of_the_number_of_regions():
    codes, valid = torch.ones(3, 4, 5, 6), torch.ones(3, 4, 5, dtype=torch.bool)
    loss = region_contrast(codes, codes[:2], valid, valid[:2])
    assert float(loss) == pytest.approx(math.log(20), rel=1e-6)


def test_only_the_student_receives_a_gradient():
    student = torch.randn(3, 2, 2, 4, requires_grad=True)
    teacher = torch.randn(2, 2, 2, 4, requires_grad=True)
    valid = torch.ones(3, 2, 2, dtype=torch.bool)
    region_contrast(student, teacher, valid, valid[:2]).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert float(region_contrast(student, teacher, ~valid, ~valid[:2]).detach()) == 0


def test_the_head_normalises_the_output_of_its_mlp():
    head = ProjectionHead(12, hidden=16, bottleneck=8)
    features = 1e-1 * torch.randn(20, 12) + 5
    expected = head.mlp(features).detach().numpy().astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(head(features).detach(), expected, atol=1e-6)


@pytest.mark.parametrize("items", [0, 1])
def test_the_head_accepts_few_items(items):
    head = ProjectionHead(12)
    codes = head(torch.randn(items, 12))
    assert codes.shape == (items, 128)
    codes.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
