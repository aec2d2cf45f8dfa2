"""The file of a slice's masks: a lossless round trip, its size, and no unpickling."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from random_masks import FIELDS, random_masks

from umsam.data.masks import (
    SliceMasks,
    no_masks,
    read_slice_masks,
    slice_file,
    write_slice_masks,
)
from umsam.errors import InputError


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(0, 4),
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    seed=st.integers(0, 99),
)
def test_masks_are_read_back_unchanged(tmp_path_factory, k, height, width, seed):
    path = tmp_path_factory.mktemp("masks") / "slice_000.npz"
    written = random_masks(k, height, width, seed)
    write_slice_masks(path, written)
    read = read_slice_masks(path)
    for name in FIELDS:
        a, b = getattr(read, name), getattr(written, name)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert np.array_equal(a, b)


def test_a_slice_without_masks_keeps_its_size(tmp_path):
    write_slice_masks(tmp_path / "a.npz", no_masks(7, 5))
    read = read_slice_masks(tmp_path / "a.npz")
    assert len(read) == 0
    assert read.masks.shape == (0, 7, 5)
    assert read.area.shape == (0,)


def test_the_file_holds_only_plain_arrays(tmp_path):
    write_slice_masks(tmp_path / "a.npz", random_masks(3, 9, 11))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file)


def make_blobs(k, height, width):
    """Return masks with smooth outlines, like SAM's."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    centre = rng.uniform(0, 1, (k, 2, 1, 1)) * [[[height]], [[width]]]
    axes = rng.uniform(5, height / 4, (k, 2, 1, 1))
    masks = ((y - centre[:, 0]) / axes[:, 0]) ** 2 + ((x - centre[:, 1]) / axes[:, 1]) ** 2 < 1
    return replace(random_masks(k, height, width), masks=masks)


@pytest.mark.parametrize("k", [10, 60])
def test_the_file_is_smaller_than_coco_run_length_codes(tmp_path, k):
    """Compare with the run-length codes of pycocotools for the same masks, in JSON."""
    written = make_blobs(k, 320, 320)
    codes = coco.encode(np.asfortranarray(written.masks.transpose(1, 2, 0).astype(np.uint8)))
    records = [
        {
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
            "predicted_iou": float(written.predicted_iou[i]),
            "stability_score": float(written.stability_score[i]),
            "bbox": written.box[i].tolist(),
            "point_coords": [written.point[i].tolist()],
        }
        for i, code in enumerate(codes)
    ]
    write_slice_masks(tmp_path / "a.npz", written)
    assert (tmp_path / "a.npz").stat().st_size < len(json.dumps(records))


def test_a_file_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", shape=np.array([0, 1, 1]), row_changes=np.array([object()]))
    with pytest.raises(InputError, match=r"a\.npz"):
        read_slice_masks(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text"])
def test_a_damaged_file_is_reported_with_the_remedy(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz.*everything mode"):
        read_slice_masks(tmp_path / "a.npz")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"slice_012\.npz"):
        read_slice_masks(slice_file(tmp_path, 12))


def test_arrays_of_different_lengths_are_refused():
    good = random_masks(2, 3, 3)
    with pytest.raises(ValueError, match="predicted_iou"):
        SliceMasks(good.masks, good.predicted_iou[:1], good.stability_score, good.box, good.point)
