"""The scripts one after the other on small volumes, with a SAM and a DINO of random weights."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch
from random_masks import FIELDS
from stand_ins import Named
from tiny_sam import SETTINGS, tiny_sam

from umsam.data.field_of_view import central_view
from umsam.data.masks import SliceMasks, no_masks, read_slice_masks, write_slice_masks
from umsam.data.volumes import Volume, read_volume, write_volume
from umsam.everything_mode.volume_loop import make_generator
from umsam.models import sam as sam_module
from umsam.models.compact_dino import build_compact_dino, save_compact_dino
from umsam.models.dino import feature_maps, load_dino
from umsam.pseudo_labels.roi_features import write_roi_features
from umsam.refinement.decoder_input import average_cells

pytestmark = pytest.mark.usefixtures("logging_as_before")

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"
SPACING = (3.0, 0.5, 0.75)
PRIORS = {"v_min": 0.01, "v_max": 0.3, "a_min": "3/4", "a_max": 3}  # half and twice in pixels
SPACE = {
    "l2_normalise": False,
    "position_weight": 0.0,
    "centre_per_volume": False,
    "pca_components": None,
}
DINO = {"model": "compact", "image_size": 48, "batch_size": 2, "sha256": None}
CLUSTERING = {"k": 2, "n_init": 3, "seed": 0, "space": SPACE, "sse_k": [2, 4],
              "max_rois": None, "sse_rois": 20000}  # fmt: skip
TARGET = {"attribute": "aspect_ratio", "prior": 1.0, "near_tie": 0.1, "choose_by": "prior"}


def run(script, folder, *, input, output, case="a", **params):
    log = folder / "logs" / f"{script}.log"
    wildcards = type("Wildcards", (list,), {"case": case, "dataset": "set"})([case])
    fake = SimpleNamespace(
        input=Named(input), output=Named(output), params=Named(params), wildcards=wildcards,
        threads=1, log=[str(log)], rule=script,
    )  # fmt: skip
    for path in output.values():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": fake})
    return log.read_text()


def volume_file(folder, case, slices, seed=0):
    array = np.random.default_rng(seed).random((slices, 40, 48)).astype(np.float32)
    path = folder / "volumes" / f"{case}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    write_volume(path, array, Volume(array, SPACING, origin=(1.0, -2.0, 3.0)))
    return path


def rectangles(*boxes):
    """Masks from (y, x, rows, columns)."""
    masks = np.zeros((len(boxes), 40, 48), bool)
    for mask, (y, x, rows, columns) in zip(masks, boxes, strict=True):
        mask[y : y + rows, x : x + columns] = True
    k = len(boxes)
    return SliceMasks(masks, np.linspace(0.5, 0.9, k, dtype=np.float32), np.ones(k, np.float32),
                      np.zeros((k, 4), np.int32), np.zeros((k, 2), np.float32))  # fmt: skip


def write_case(folder, case, slices):
    """A volume and its masks, without SAM."""
    volume_file(folder, case, len(slices), seed=len(case))
    for z, m in enumerate(slices):
        write_slice_masks(folder / "sam_masks" / case / f"slice_{z:03d}.npz", m)


def per_case(folder, case):
    """Shape priors and pooled DINO features of a case; the log of the first."""
    volume, masks = folder / "volumes" / f"{case}.nii.gz", folder / "sam_masks" / case
    rois, maps = folder / "rois" / f"{case}.csv", folder / "dino_features" / f"{case}.npy"
    torch.manual_seed(0)
    if not (folder / "dino.pt").exists():
        save_compact_dino(build_compact_dino(None), folder / "dino.pt")
    log = run("shape_priors", folder, case=case, input={"volume": volume, "masks": masks},
              output={"rois": rois}, priors=PRIORS)  # fmt: skip
    run("dino_features", folder, case=case, dino=DINO, output={"features": maps},
        input={"volume": volume, "dino_weights": folder / "dino.pt"})  # fmt: skip
    pool(folder, case, rois, dino_features=maps)
    return log


def pool(folder, case, rois, field_of_view=None, rim_width=0.0, **maps):
    """The features pooled from maps."""
    features = folder / "roi_features" / f"{case}.npz"
    run(
        "roi_features", folder, case=case, field_of_view=field_of_view, rim_width=rim_width,
        input={"volume": folder / "volumes" / f"{case}.nii.gz",
               "masks": folder / "sam_masks" / case, "rois": rois, **maps},
        output={"features": features},
    )  # fmt: skip
    return np.load(features)["features"]


def roi_inputs(folder, cases):
    return {
        "features": [folder / "roi_features" / f"{case}.npz" for case in cases],
        "rois": [folder / "rois" / f"{case}.csv" for case in cases],
    }


def cluster(folder, splits):
    """SSE curve, K-means, target cluster and assignments; the record of the target."""
    training = [case for case, split in splits.items() if split == "train"]
    clusters = folder / "clusters"
    inputs = roi_inputs(folder, training)
    run("sse_curve", folder, cases=training, input=inputs, output={"curve": clusters / "sse.csv"},
        clustering={key: value for key, value in CLUSTERING.items() if key != "k"})  # fmt: skip
    volumes = [folder / "volumes" / f"{case}.nii.gz" for case in training]
    run("kmeans", folder, cases=training, input={**inputs, "volumes": volumes},
        output={"kmeans": clusters / "kmeans.npz"}, clustering=CLUSTERING)  # fmt: skip
    kmeans = {"kmeans": clusters / "kmeans.npz"}
    run("target_cluster", folder, cases=training, input={**inputs, **kmeans}, target=TARGET,
        output={"target": clusters / "target.json"})  # fmt: skip
    run("assignments", folder, cases=list(splits), splits=list(splits.values()),
        input={**kmeans, **roi_inputs(folder, splits)}, attribute=TARGET["attribute"],
        output={"assignments": clusters / "assignments.csv"})  # fmt: skip
    return json.loads((clusters / "target.json").read_text())


def label(folder, case, select="nearest_centroid"):
    output = folder / "pseudo_labels" / f"{case}.nii.gz"
    run(
        "pseudo_label", folder, case=case, select=select,
        input={"volume": folder / "volumes" / f"{case}.nii.gz",
               "masks": folder / "sam_masks" / case,
               "rois": folder / "rois" / f"{case}.csv",
               "features": folder / "roi_features" / f"{case}.npz",
               "kmeans": folder / "clusters" / "kmeans.npz",
               "target": folder / "clusters" / "target.json"},
        output={"pseudo_label": output},
    )  # fmt: skip
    return read_volume(output)


def rois_of(folder, case="a"):
    rois = folder / f"{case}.csv"
    run("shape_priors", folder, output={"rois": rois}, priors=PRIORS,
        input={"volume": folder / "volumes" / f"{case}.nii.gz",
               "masks": folder / "sam_masks" / case})  # fmt: skip
    return rois


def test_sam_features_are_pooled_inside_the_view(tmp_path):
    """The features are coordinates in a view of 16 x 16 mm, so an ROI's feature is its centre
    there."""
    boxes = [(8, 20, 12, 10), (16, 16, 8, 16)]  # within the view: rows 4 to 35, columns 13 to 33
    write_case(tmp_path, "a", [rectangles(*boxes)])
    cells = (np.arange(32) + 0.5).astype(
        np.float16
    )  # one pixel each; the view is padded to 32 x 32
    np.save(tmp_path / "a.npy", np.stack(np.meshgrid(cells, cells))[None])
    pooled = pool(tmp_path, "a", rois_of(tmp_path), 16, sam_features=tmp_path / "a.npy")
    centres = [(x + columns / 2 - 13, y + rows / 2 - 4) for y, x, rows, columns in boxes]
    np.testing.assert_allclose(pooled, centres, atol=1e-3)


@pytest.mark.parametrize(("rim_width", "expected"), [(0.0, 1.0), (0.2, 0.0)])
def test_features_are_pooled_over_the_roi_or_over_its_rim(tmp_path, rim_width, expected):
    """The only feature is 1 in the ROI and 0 outside of it."""
    write_case(tmp_path, "a", [rectangles((8, 20, 12, 10))])
    inside = rectangles((8, 20, 12, 10)).masks[:, None, :, :]
    np.save(tmp_path / "a.npy", np.pad(inside, ((0, 0), (0, 0), (0, 8), (0, 0))).astype("f2"))
    maps = {"sam_features": tmp_path / "a.npy"}
    pooled = pool(tmp_path, "a", rois_of(tmp_path), rim_width=rim_width, **maps)
    assert pooled.item() == pytest.approx(expected, abs=1e-6)


def test_features_of_both_models_are_side_by_side(tmp_path):
    """Each part has length 1 and the direction of the features pooled from its model alone."""
    write_case(tmp_path, "a", [rectangles((8, 20, 12, 10), (16, 16, 8, 16))])
    per_case(tmp_path, "a")
    embedding = np.random.default_rng(0).normal(size=(1, 5, 16, 16))
    np.save(tmp_path / "a.npy", embedding.astype("f2"))
    maps = {"sam_features": tmp_path / "a.npy", "dino_features": tmp_path / "dino_features/a.npy"}
    choices = {"sam": ["sam_features"], "dino": ["dino_features"], "both": list(maps)}
    features = {
        source: pool(tmp_path, "a", tmp_path / "rois/a.csv", 32, 0.2, **{n: maps[n] for n in names})
        for source, names in choices.items()
    }
    alone = [features[s] / np.linalg.norm(features[s], axis=1)[:, None] for s in ("sam", "dino")]
    np.testing.assert_allclose(features["both"], np.hstack(alone), rtol=1e-5)


def test_dino_maps_are_those_of_the_model_in_half_precision(tmp_path):
    write_case(tmp_path, "a", [rectangles((2, 3, 10, 10))] * 3)
    per_case(tmp_path, "a")
    maps = np.load(tmp_path / "dino_features/a.npy", mmap_mode="r", allow_pickle=False)
    dino = load_dino("compact", tmp_path / "dino.pt", "cpu", 48)
    expected = feature_maps(dino, read_volume(tmp_path / "volumes/a.nii.gz").array, 2, "cpu")
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("slices", [1, 3])
def test_everything_mode_of_a_volume(sam, tmp_path, monkeypatch, slices):
    torch.save(sam.state_dict(), tmp_path / "sam.pth")
    monkeypatch.setattr(sam_module, "_official_builders", lambda: {"vit_b": tiny_sam})
    monkeypatch.setenv("UMSAM_DEVICE", "cpu")
    volume = volume_file(tmp_path, "a", slices)
    masks, features = tmp_path / "sam_masks" / "a", tmp_path / "sam_features" / "a.npy"
    log = run(
        "everything_mode", tmp_path,
        input={"volume": volume, "sam_weights": tmp_path / "sam.pth"},
        output={"masks": masks, "features": features},
        sam={**SETTINGS, "generator": "fast", "model": "vit_b", "sha256": None,
             "field_of_view": None},
    )  # fmt: skip
    assert f"{slices}/{slices} slices" in log
    embedding = np.load(features, mmap_mode="r", allow_pickle=False)
    assert embedding.shape == (slices, 32, 4, 4)
    assert embedding.dtype == np.float16
    assert sorted(path.name for path in masks.iterdir()) == [
        f"slice_{z:03d}.npz" for z in range(slices)
    ]
    assert [path.name for path in features.parent.iterdir()] == ["a.npy"]
    array = read_volume(volume).array
    generator = make_generator(sam, {**SETTINGS, "generator": "fast"})
    for z in range(slices):
        grey = np.rint(array[z] * 255).astype(np.uint8)
        expected, expected_embedding = generator(np.stack([grey] * 3, -1))
        found = read_slice_masks(masks / f"slice_{z:03d}.npz")
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_allclose(embedding[z], expected_embedding, atol=2e-3, rtol=2e-3)


def test_from_masks_to_pseudo_labels(tmp_path):
    """One slice in case 007; a case without ROIs, one with all filtered away, a test case."""
    square, wide, huge, line = (2, 3, 10, 10), (20, 20, 10, 18), (0, 0, 39, 47), (30, 0, 2, 40)
    write_case(tmp_path, "a", [rectangles(square, wide, huge), rectangles(wide), no_masks(40, 48)])
    write_case(tmp_path, "007", [rectangles(line, square)])
    write_case(tmp_path, "nothing", [no_masks(40, 48)] * 2)
    write_case(tmp_path, "filtered", [rectangles(line), rectangles(line, huge)])
    write_case(tmp_path, "test", [rectangles(wide, square), no_masks(40, 48)])
    splits = {"test": "test", "nothing": "train", "a": "train", "filtered": "train", "007": "train"}
    logs = {case: per_case(tmp_path, case) for case in splits}
    assert "sam.pred_iou_thresh" in logs["nothing"]
    assert "shape_priors.a_max rejects most, 2 of 3 ROIs" in logs["filtered"]
    assert "WARNING" not in logs["a"] + logs["007"] + logs["test"]

    target = cluster(tmp_path, splits)
    assigned = pd.read_csv(tmp_path / "clusters" / "assignments.csv", dtype={"case": str})
    assert assigned.groupby("case").size().to_dict() == {"007": 1, "a": 3, "test": 2}
    training = assigned[assigned["split"] == "train"]
    means = training.groupby("cluster")["attribute"].mean()
    assert target["cluster"] == (means - 1.0).abs().idxmin()
    assert sum(c["count"] for c in target["clusters"]) == 4  # the test case's ROIs do not count
    with np.load(tmp_path / "clusters" / "kmeans.npz", allow_pickle=False) as file:
        assert file["centroids"].shape == (2, 192)

    for case in splits:
        image = read_volume(tmp_path / "volumes" / f"{case}.nii.gz")
        result = label(tmp_path, case, "union")
        assert result.array.dtype == np.uint8
        assert result.array.shape == image.array.shape
        assert result.spacing == pytest.approx(SPACING)
        assert result.origin == image.origin
        rows = assigned[(assigned["case"] == case) & (assigned["cluster"] == target["cluster"])]
        expected = np.zeros(image.array.shape, np.uint8)
        for row in rows.itertuples(index=False):
            folder = tmp_path / "sam_masks" / case
            masks = read_slice_masks(folder / f"slice_{row.slice:03d}.npz").masks
            expected[row.slice] |= masks[row.index]
        np.testing.assert_array_equal(result.array, expected)
    for case in ("nothing", "filtered"):
        assert not label(tmp_path, case).array.any()
        log = (tmp_path / "logs/pseudo_label.log").read_text()
        assert f"case {case}: none of its ROIs is in the target cluster" in log


def test_no_valid_training_roi_stops_with_the_prior_to_relax(tmp_path, capsys):
    write_case(tmp_path, "a", [rectangles((30, 0, 2, 40), (10, 0, 3, 47))])
    write_case(tmp_path, "t", [rectangles((2, 3, 10, 10))])
    for case in ("a", "t"):
        per_case(tmp_path, case)
    with pytest.raises(SystemExit):
        cluster(tmp_path, {"a": "train", "t": "test"})
    log = (tmp_path / "logs" / "sse_curve.log").read_text()
    assert "none of the 2 ROIs of 1 training volume(s) is valid" in log
    assert "shape_priors.a_max rejects most, 2 of 2" in log
    assert "Traceback" not in log
    assert not (tmp_path / "clusters" / "sse.csv").exists()


def test_one_training_roi_is_one_cluster(tmp_path):
    write_case(tmp_path, "a", [rectangles((2, 3, 10, 10))])
    per_case(tmp_path, "a")
    target = cluster(tmp_path, {"a": "train"})
    assert (target["k"], target["cluster"]) == (1, 0)
    assert label(tmp_path, "a").array.sum() == 100


def test_what_goes_on_through_the_slices_is_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(CLUSTERING, "k", 1)
    stays, elsewhere = (2, 3, 10, 10), [(20, 2, 9, 9), (25, 30, 9, 9), (5, 30, 9, 9)]
    write_case(tmp_path, "a", [rectangles(other, stays) for other in elsewhere])
    per_case(tmp_path, "a")
    cluster(tmp_path, {"a": "train"})
    expected = rectangles(stays).masks.repeat(3, axis=0)
    np.testing.assert_array_equal(label(tmp_path, "a", "continuous").array, expected)


def test_slices_too_far_apart_to_go_on_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(CLUSTERING, "k", 1)
    places = [(20, 2, 9, 9), (25, 30, 9, 9), (5, 30, 9, 9)]
    write_case(tmp_path, "a", [rectangles(place) for place in places])
    per_case(tmp_path, "a")
    cluster(tmp_path, {"a": "train"})
    found = label(tmp_path, "a", "continuous").array
    assert found.any(axis=(1, 2)).tolist() == [True, False, False]
    log = (tmp_path / "logs" / "pseudo_label.log").read_text()
    assert "case a: ROIs of the target cluster are on 3 slices" in log
    assert "target.select: nearest_centroid" in log
    label(tmp_path, "a", "nearest_centroid")
    assert "WARNING" not in (tmp_path / "logs" / "pseudo_label.log").read_text()


@pytest.mark.parametrize(("choose_by", "expected"), [("prior", 10.5), ("evidence", 10.0)])
def test_continuity_through_the_slices_is_evidence(tmp_path, choose_by, expected):
    """Two kinds of ROIs with different features: one stays in place, the other fits the prior
    better."""
    stays, elsewhere = (2, 3, 10, 10), [(20, 2, 9, 9), (25, 30, 9, 9), (5, 30, 9, 9)]
    write_case(tmp_path, "a", [rectangles(other, stays) for other in elsewhere])
    rois = pd.read_csv(rois_of(tmp_path)).sort_values(["slice", "index"])
    assert rois["valid"].all()
    kinds = np.tile([1.0, 0.0], 3)
    rois.assign(area_mm2=10 + 0.5 * kinds).to_csv(tmp_path / "a.csv", index=False)
    write_roi_features(tmp_path / "a.npz", rois, kinds[:, None].astype("f4"))
    files = {"features": [tmp_path / "a.npz"], "rois": [tmp_path / "a.csv"]}
    run("kmeans", tmp_path, cases=["a"], clustering=CLUSTERING,
        input={**files, "volumes": [tmp_path / "volumes/a.nii.gz"]},
        output={"kmeans": tmp_path / "kmeans.npz"})  # fmt: skip
    settings = {"attribute": "area_mm2", "prior": 10.4, "near_tie": 0.1, "choose_by": choose_by}
    run("target_cluster", tmp_path, cases=["a"], target=settings,
        input={**files, "kmeans": tmp_path / "kmeans.npz", "masks": [tmp_path / "sam_masks" / "a"]},
        output={"target": tmp_path / "target.json"})  # fmt: skip
    target = json.loads((tmp_path / "target.json").read_text())
    assert target["clusters"][target["cluster"]]["mean"] == expected


def test_k_auto_is_the_knee_of_the_curve(tmp_path):
    write_case(tmp_path, "a", [rectangles((2, 3, 10, 10), (20, 20, 12, 18), (5, 30, 9, 9))] * 2)
    per_case(tmp_path, "a")
    (tmp_path / "sse.csv").write_text("k,sse\n1,100\n2,90\n3,5\n4,4\n")
    log = run("kmeans", tmp_path, cases=["a"], clustering={**CLUSTERING, "k": "auto"},
              input={**roi_inputs(tmp_path, ["a"]), "curve": tmp_path / "sse.csv",
                     "volumes": [tmp_path / "volumes/a.nii.gz"]},
              output={"kmeans": tmp_path / "kmeans.npz"})  # fmt: skip
    assert "3 clusters" in log


def test_refined_labels_find_what_the_pseudo_label_of_one_volume_misses(tmp_path, monkeypatch):
    """SAM sees the square of 20 mm: 40 x 27 of the 40 x 48 pixels, in 8 x 8 cells."""
    monkeypatch.setattr("umsam.refinement.refinement.STEPS", 100)
    monkeypatch.setattr("umsam.refinement.decoder_input.MIN_SIDE", 16)
    view, square = central_view((40, 48), SPACING[1:], 20.0), np.zeros((3, 40, 48), np.uint8)
    square[:, 10:30, view.x + 10 : view.x + 20] = 1
    rng = np.random.default_rng(0)
    files = {"volumes": [], "sam_features": [], "pseudo_labels": []}
    for case in "abcdef":
        files["volumes"].append(volume_file(tmp_path, case, 3))
        volume = read_volume(files["volumes"][-1])
        features = rng.normal(size=(3, 8, 8, 8))
        features[:, 0] += 5 * np.nan_to_num(average_cells(square > 0, view, 8))
        for name in files:
            (tmp_path / name).mkdir(exist_ok=True)
        files["sam_features"].append(tmp_path / "sam_features" / f"{case}.npy")
        np.save(files["sam_features"][-1], features.astype(np.float16))
        files["pseudo_labels"].append(tmp_path / "pseudo_labels" / f"{case}.nii.gz")
        label = square if case != "f" else np.roll(square, -10, axis=2)
        write_volume(files["pseudo_labels"][-1], label, volume)
    networks = tmp_path / "networks.pt"
    log = run("refinement", tmp_path, input=files, output={"networks": networks},
              cases=list("abcdef"), threads=1, seed=0, smooth_z=2.0,
              field_of_view=20.0)  # fmt: skip
    assert "12 decoders" in log
    assert "WARNING" not in log
    for case in "af":
        run("refined_label", tmp_path, case=case,
            input={"volume": tmp_path / "volumes" / f"{case}.nii.gz", "networks": networks,
                   "sam_features": tmp_path / "sam_features" / f"{case}.npy"},
            output={"refined_label": tmp_path / f"{case}.nii.gz"}, field_of_view=20.0,
            largest_component=True)  # fmt: skip
        found = read_volume(tmp_path / f"{case}.nii.gz")
        assert found.spacing == pytest.approx(SPACING)
        assert not found.array[:, :, : view.x].any()
        assert not found.array[:, :, view.x + view.width :].any()
        assert scipy.ndimage.label(found.array, np.ones((3, 3, 3)))[1] == 1
        both = np.count_nonzero(found.array & square)
        assert 2 * both / (found.array.sum() + square.sum()) > 0.6, case

    files = {name: paths[4:] for name, paths in files.items()}  # of two that have nothing in common
    log = run("refinement", tmp_path, input=files, output={"networks": networks},
              cases=list("ef"), threads=1, seed=0, smooth_z=0.0, field_of_view=20.0)  # fmt: skip
    assert "WARNING: the refined labels of set are learned from only 2 training volumes" in log
    assert "WARNING: the refined labels of set disagree with its pseudo-labels" in log
