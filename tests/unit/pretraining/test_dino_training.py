"""Training of the compact DINO: reproducible and resumable; the teacher is a moving average."""

import dataclasses

import numpy as np
import pytest
import torch

from umsam.errors import InputError
from umsam.pretraining.dino_training import (
    DinoRun,
    DinoSettings,
    largest_regions,
    learning_rate,
    procedural_source,
    teacher_momentum,
    train_dino,
)
from umsam.pretraining.settings import from_configuration

TINY = DinoSettings(
    steps=2,
    batch_size=2,
    images=3,
    regions=3,
    global_size=24,
    local_size=16,
    learning_rate=1e-3,
    warm_up_share=0.5,
    bfloat16=False,
)


def source(number: int):
    rng = np.random.default_rng(number)
    image = rng.random((48, 48))
    labels = np.full((48, 48), -1)
    labels[4:30, 4:30], labels[24:44, 20:44] = 0, 1
    return np.stack([image, image.T]), np.stack([labels, labels.T])


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_seed_determines_the_result():
    first, again = (train_dino(TINY, source, stop_after=1) for _ in range(2))
    other = train_dino(dataclasses.replace(TINY, seed=1), source, stop_after=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    uninterrupted = train_dino(TINY, source)
    state_file = tmp_path / "dino.state"
    train_dino(TINY, source, state_file, stop_after=1)
    resumed = train_dino(TINY, source, state_file)
    assert torch.equal(weights(uninterrupted), weights(resumed))


def test_a_state_with_other_settings_is_refused(tmp_path):
    state_file = tmp_path / "dino.state"
    train_dino(TINY, source, state_file, stop_after=1)
    with pytest.raises(InputError, match=r"dino\.state .* other settings\. .*delete the file"):
        train_dino(dataclasses.replace(TINY, learning_rate=1e-4), source, state_file)


def test_unknown_configuration_keys_are_named():
    assert from_configuration(DinoSettings, {"steps": 7}, "pretraining.dino").steps == 7
    with pytest.raises(InputError, match=r"pretraining\.dino has no key step\. Valid keys: "):
        from_configuration(DinoSettings, {"step": 7}, "pretraining.dino")


def test_the_teacher_is_the_moving_average_of_the_student():
    settings = dataclasses.replace(TINY, steps=3)
    run = DinoRun(settings, source)
    expected = weights(run.teacher)
    for step in range(3):
        before = weights(run.student)
        run.train_step()
        momentum = teacher_momentum(step / 3, settings)
        expected = momentum * expected + (1 - momentum) * weights(run.student)
        torch.testing.assert_close(weights(run.teacher), expected)
        assert not torch.equal(weights(run.student), before)
    assert all(p.grad is None for p in run.teacher.parameters())


def test_the_student_learns_the_same_crops_from_a_fixed_teacher(monkeypatch):
    """With crops and teacher fixed, the loss is one cross-entropy and must decrease."""
    settings = dataclasses.replace(TINY, steps=12, warm_up_share=0.01, teacher_momentum=1.0)
    run = DinoRun(settings, source)
    crops = run._crops()
    monkeypatch.setattr(run, "_crops", lambda: crops)
    losses = [run.train_step()["loss"] for _ in range(12)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_schedules_have_their_initial_and_final_values():
    settings = DinoSettings(steps=100, learning_rate=1e-3, warm_up_share=0.1, teacher_momentum=0.99)
    assert learning_rate(0.0, settings) == pytest.approx(1e-4)
    assert learning_rate(0.1, settings) == pytest.approx(1e-3)
    assert learning_rate(1.0, settings) == pytest.approx(1e-6)
    assert teacher_momentum(0.0, settings) == pytest.approx(0.99)
    assert teacher_momentum(1.0, settings) == pytest.approx(1.0)


def test_regions_are_numbered_by_decreasing_area():
    labels = np.array([[-1, -1, -1, -1], [7, 7, 7, 2], [4, 4, 2, 9], [4, 4, 7, -1]])
    ranked = largest_regions(labels, 2)  # 4 and 7 have four pixels each
    assert set(np.unique(ranked)) == {-1, 0, 1}
    assert (ranked >= 0).sum() == 8
    assert len(np.unique(labels[ranked == 0])) == len(np.unique(labels[ranked == 1])) == 1
    assert (largest_regions(np.full((3, 3), -1), 4) == -1).all()


def test_procedural_images_have_regions_and_depend_on_their_number():
    make = procedural_source(seed=5, size=64)
    for number in (0, 1):
        images, labels = make(number)
        assert images.shape == labels.shape == (2, 64, 64)
        assert images.min() >= 0
        assert images.max() <= 1
        assert labels.min() >= 0
        np.testing.assert_array_equal(images, make(number)[0])
    assert not np.array_equal(make(0)[0], make(4)[0])
