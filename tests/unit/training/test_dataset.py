"""Training cases from files, and batches of slices of different sizes."""

import logging

import numpy as np
import pytest

from umsam.data.volumes import Volume, write_volume
from umsam.errors import InputError
from umsam.training.dataset import SliceDataset, TrainingCase, read_training_cases


@pytest.fixture
def files(tmp_path):
    """Volumes a (3 slices), b (1 slice) and c (no label); the features hold the slice number."""
    rng = np.random.default_rng(0)
    paths = {"volumes": [], "labels": [], "sam_features": []}
    for case, shape in {"a": (3, 20, 24), "b": (1, 30, 18), "c": (2, 20, 24)}.items():
        image = rng.random(shape, dtype=np.float32)
        like = Volume(image, (4.0, 1.0, 1.0))
        features = np.zeros((shape[0], 256, 4, 4), dtype=np.float16)
        features += np.arange(shape[0], dtype=np.float16).reshape(-1, 1, 1, 1)
        for kind, name in (("volumes", f"{case}.nii.gz"), ("labels", f"{case}.nii.gz")):
            path = tmp_path / kind / name
            path.parent.mkdir(exist_ok=True)
            if kind == "labels" and case == "c":
                continue
            array = image if kind == "volumes" else (image > 0.9).astype(np.uint8)
            write_volume(path, array, like)
            paths[kind].append(path)
        path = tmp_path / f"{case}.npy"
        np.save(path, features)
        paths["sam_features"].append(path)
    return paths


def test_files_are_matched_by_case_in_any_order(files, caplog):
    with caplog.at_level(logging.INFO):
        cases = read_training_cases(
            files["volumes"], files["labels"][::-1], files["sam_features"][::-1]
        )
    assert [case.image.shape for case in cases] == [(3, 20, 24), (1, 30, 18)]
    assert all(np.array_equal(case.label, case.image > 0.9) for case in cases)
    assert isinstance(cases[0].sam_features, np.memmap)
    assert "have no label: c" in caplog.text


def test_a_batch_holds_slices_of_different_sizes(files):
    cases = read_training_cases(files["volumes"], files["labels"], files["sam_features"])
    dataset = SliceDataset(cases)
    assert len(dataset) == 4
    batch = dataset.batch([2, 3])
    assert batch.image.shape == batch.label.shape == (2, 1, 30, 24)
    assert batch.size.tolist() == [[20, 24], [30, 18]]
    assert np.array_equal(batch.image[0, 0, :20, :24], cases[0].image[2])
    assert np.array_equal(batch.image[1, 0, :30, :18], cases[1].image[0])
    assert not batch.image[0, 0, 20:].any()
    assert not batch.image[1, 0, :, 18:].any()
    assert [float(f.max()) for f in batch.sam_features] == [2, 0]
    without = SliceDataset(read_training_cases(files["volumes"], files["labels"]))
    assert without.batch([0]).sam_features is None


def test_positive_slices_are_those_with_a_label(files):
    cases = read_training_cases(files["volumes"], files["labels"])
    cases[0].label[:] = 0
    assert SliceDataset(cases).positive_slices == int(cases[1].label.any())


@pytest.mark.parametrize(("fraction", "drawn"), [(1.0, 8), (0.5, 4), (0.0, 0)])
def test_an_epoch_draws_a_fraction_of_the_empty_slices(fraction, drawn):
    label = np.zeros((12, 4, 4), np.uint8)
    label[[1, 4, 7, 11], 2, 2] = 1
    dataset = SliceDataset([TrainingCase(np.zeros((12, 4, 4), np.float32), label)], fraction)
    rng = np.random.default_rng(0)
    epochs = [dataset.epoch(rng) for _ in range(60)]
    for order in epochs:
        assert len(set(order)) == len(order) == dataset.epoch_length == 4 + drawn
        assert {1, 4, 7, 11} <= set(order)
    counts = np.bincount(np.concatenate(epochs), minlength=12)[label[:, 2, 2] == 0]
    assert (counts > 0).all() == (fraction > 0)  # each epoch draws others
    assert len({tuple(order) for order in epochs}) > 15


def test_an_epoch_holds_at_least_one_slice():
    empty = TrainingCase(np.zeros((3, 4, 4), np.float32), np.zeros((3, 4, 4), np.uint8))
    dataset = SliceDataset([empty], 0.0)
    assert len(dataset.epoch(np.random.default_rng(0))) == dataset.epoch_length == 1


def test_training_without_any_label_is_refused(files):
    with pytest.raises(InputError, match=r"no training case has a label.*sample sheet"):
        read_training_cases(files["volumes"], [])


def test_a_label_of_another_size_is_named(files):
    write_volume(files["labels"][0], np.zeros((3, 20, 20), np.uint8),
                 Volume(np.zeros((3, 20, 20)), (4.0, 1.0, 1.0)))  # fmt: skip
    with pytest.raises(InputError, match=r"labels/a\.nii\.gz.*\(3, 20, 20\)"):
        read_training_cases(files["volumes"], files["labels"])


def test_features_of_another_volume_are_named(files):
    np.save(files["sam_features"][1], np.zeros((5, 256, 4, 4), np.float16))
    with pytest.raises(InputError, match=r"b\.npy"):
        read_training_cases(files["volumes"], files["labels"], files["sam_features"])
