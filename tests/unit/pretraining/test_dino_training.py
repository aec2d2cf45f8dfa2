"""The training loop: reproducible, resumable, and its checkpoint reads back."""

import dataclasses

import numpy as np
import pytest
import torch

from umsam.errors import InputError
from umsam.pretraining.dino_training import (
    DinoRun,
    DinoSettings,
    dino_settings,
    largest_regions,
    learning_rate,
    procedural_source,
    teacher_momentum,
    train_dino,
)

TINY = DinoSettings(
    steps=2, batch_size=2, images=3, regions=3, global_size=24, local_size=16, locals=2, out_dim=32,
    learning_rate=1e-3, warmup=0.5, cls_weight=0.1, bfloat16=False,
)  # fmt: skip


def source(number: int):
    rng = np.random.default_rng(number)
    image = rng.random((48, 48))
    labels = np.full((48, 48), -1)
    labels[4:30, 4:30], labels[24:44, 20:44] = 0, 1
    return np.stack([image, image.T]), np.stack([labels, labels.T])


def weights(module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_seed_decides_everything():
    first, again = (train_dino(TINY, source, until=1) for _ in range(2))
    other = train_dino(dataclasses.replace(TINY, seed=1), source, until=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_resumed_equals_uninterrupted(tmp_path):
    whole = train_dino(TINY, source)
    state_file = tmp_path / "dino.state"
    train_dino(TINY, source, state_file, until=1)
    resumed = train_dino(TINY, source, state_file)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_state_of_other_settings_is_refused(tmp_path):
    state_file = tmp_path / "dino.state"
    train_dino(TINY, source, state_file, until=1)
    with pytest.raises(InputError, match="of other settings"):
        train_dino(dataclasses.replace(TINY, learning_rate=1e-4), source, state_file)


def test_unknown_keys_of_the_configuration_are_named():
    assert dino_settings({"steps": 7}).steps == 7
    with pytest.raises(InputError, match="has no step; it knows"):
        dino_settings({"step": 7})
    with pytest.raises(InputError, match="must be contrast or dino"):
        dino_settings({"region_loss": "none"})


def test_a_step_moves_the_student_and_the_teacher_follows_by_its_average():
    run = DinoRun(TINY, source)
    before = weights(run.teacher)
    run.train_step()
    momentum = teacher_momentum(0.0, TINY)
    expected = momentum * before + (1 - momentum) * weights(run.student)
    torch.testing.assert_close(weights(run.teacher), expected)
    assert not torch.equal(weights(run.student), before)
    assert all(p.grad is None for p in run.teacher.parameters())


@pytest.mark.parametrize("region_loss", ["contrast", "dino"])
def test_the_student_learns_what_a_still_teacher_says(region_loss):
    """With the teacher and the centres held, the loss is a cross-entropy that must fall."""
    settings = dataclasses.replace(
        TINY,
        steps=12,
        images=1,
        warmup=0.01,
        teacher_momentum=1.0,
        centre_momentum=1.0,
        region_loss=region_loss,
        transplant=0.0,
    )
    run = DinoRun(settings, source)
    losses = [sum(run.train_step()[name] for name in ("cls", "region")) for _ in range(12)]
    assert np.mean(losses[-4:]) < 0.96 * np.mean(losses[:4])


def test_schedules_begin_and_end_where_they_should():
    settings = DinoSettings(steps=100, learning_rate=1e-3, warmup=0.1, teacher_momentum=0.99)
    assert learning_rate(0.0, settings) == pytest.approx(1e-4)
    assert learning_rate(0.1, settings) == pytest.approx(1e-3)
    assert learning_rate(1.0, settings) == pytest.approx(1e-6)
    assert teacher_momentum(0.0, settings) == pytest.approx(0.99)
    assert teacher_momentum(1.0, settings) == pytest.approx(1.0)


def test_largest_regions_come_first_and_the_rest_are_none():
    labels = np.array([[-1, -1, -1, -1], [7, 7, 7, 2], [4, 4, 2, 9], [4, 4, 7, -1]])
    ranked = largest_regions(labels, 2)  # 4 and 7 have four pixels each
    assert set(np.unique(ranked)) == {-1, 0, 1}
    assert (ranked >= 0).sum() == 8
    assert len(np.unique(labels[ranked == 0])) == len(np.unique(labels[ranked == 1])) == 1
    assert (largest_regions(np.full((3, 3), -1), 4) == -1).all()


def test_procedural_images_have_regions_and_follow_their_number():
    make = procedural_source(seed=5, size=64)
    for number in (0, 1):
        images, labels = make(number)
        assert images.shape == labels.shape == (2, 64, 64)
        assert images.min() >= 0
        assert images.max() <= 1
        assert labels.min() >= 0
        np.testing.assert_array_equal(images, make(number)[0])
    assert not np.array_equal(make(0)[0], make(4)[0])
