"""Figures: the artists hold the numbers of the tables, and the files are complete pictures."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from umsam.figures.ablation import ablation_figure
from umsam.figures.clusters import (
    EXAMPLES,
    Example,
    cluster_figure,
    select_examples,
    summarise_clusters,
)
from umsam.figures.contours import Case, contour_figure, crop_window, largest_slice
from umsam.figures.precision import precision_figure
from umsam.figures.sse import sse_figure
from umsam.figures.style import Style, save_figure

STYLE = Style(dpi=60, cases=2, label_color="#ff0000", prediction_color="#00ff00")
THRESHOLDS = [0.1, 0.5, 0.9]


@pytest.fixture
def precision():
    rng = np.random.default_rng(0)
    rows = [
        ("d", name, threshold, rng.random(), n)
        for name, n in (("omega_0", 1200), ("valid", 80), ("target", 0))
        for threshold in THRESHOLDS
    ]
    table = pd.DataFrame(rows, columns=["dataset", "set", "threshold", "precision", "n_rois"])
    table.loc[table["n_rois"] == 0, "precision"] = np.nan
    return table


@pytest.fixture
def ablation():
    rows = [
        ("d", variant, seed, case, dsc, 1.0)
        for variant, dscs in (("triple", (0.9, 0.8)), ("none", (0.2, 0.5)), ("plkd", (0.6, 0.6)))
        for seed, (case, dsc) in enumerate(zip("ab", dscs, strict=True))
    ]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "case", "dsc", "assd_mm"])


def test_a_file_has_the_requested_size_and_reproducible_bytes(tmp_path, precision):
    for name in ("one", "two"):
        files = [str(tmp_path / f"{name}.{suffix}") for suffix in ("png", "pdf")]
        figure = precision_figure(precision)
        save_figure(figure, files, dpi=60)
    with Image.open(tmp_path / "one.png") as picture:
        picture.load()
        assert picture.size == tuple(int(60 * inches) for inches in figure.get_size_inches())
        assert len(picture.getcolors(1 << 20)) > 10  # the picture is not blank
    for suffix in ("png", "pdf"):
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert b"CreationDate" not in (tmp_path / "one.pdf").read_bytes()


def test_the_precision_lines_show_the_table(precision):
    (axes,) = precision_figure(precision).axes
    for line, (_, group) in zip(
        axes.get_lines(), precision.groupby("set", sort=False), strict=True
    ):
        np.testing.assert_array_equal(line.get_xdata(), group["threshold"])
        np.testing.assert_array_equal(line.get_ydata(), group["precision"])
    assert "n = 1,200" in axes.get_lines()[0].get_label()


def test_the_bars_show_the_means_in_the_paper_s_order(ablation):
    (axes,) = ablation_figure(ablation).axes
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, [35, 60, 85])  # none, plkd, triple
    assert [text.get_text() for text in axes.texts] == ["35.0", "60.0", "85.0"]
    points = [collection.get_offsets() for collection in axes.collections]
    points = [offsets for offsets in points if len(offsets) == 2]
    np.testing.assert_allclose(points[-1][:, 1], [90, 80])
    ends = [np.ptp([p[1] for p in c.get_segments()[0]]) for c in axes.collections[::2]]
    np.testing.assert_allclose(ends, 2 * np.sqrt(2) * np.array([15, 0, 5]), atol=1e-9)


def test_the_sse_curve_marks_the_knee_and_the_number_in_use():
    curve = pd.DataFrame({"k": [2, 3, 4, 5], "sse": [9.0, 4.0, 3.0, 2.5]})
    (axes,) = sse_figure(curve, knee=3, used=5).axes
    line, used, knee = axes.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), curve["sse"])
    assert (used.get_xdata()[0], knee.get_xdata()[0]) == (5, 3)
    (axes,) = sse_figure(curve, knee=3, used=3).axes
    assert len(axes.get_lines()) == 2
    (axes,) = sse_figure(curve, knee=None, used=4).axes
    assert len(axes.get_lines()) == 2


def square(shape, z, rows, columns):
    mask = np.zeros(shape, bool)
    mask[z, rows, columns] = True
    return mask


def a_case(label=True, **predictions):
    shape = (3, 40, 60)
    truth = square(shape, 1, slice(10, 20), slice(30, 40))
    truth[2, 12:14, 30:34] = True
    volume = np.zeros(shape)
    return Case("case-1", volume, (5.0, 2.0, 1.0), truth if label else None, predictions)


def test_the_figure_shows_the_slice_with_the_largest_mask():
    assert largest_slice(a_case().label) == 1
    assert largest_slice(np.zeros((5, 4, 4), bool)) == 2


def test_the_window_contains_the_mask_and_is_square_in_mm():
    mask = np.zeros((100, 200), bool)
    mask[40:60, 90:110] = True  # 40 x 20 mm
    rows, columns = crop_window(mask, (2.0, 1.0))
    assert rows.start < 40
    assert rows.stop > 60
    assert columns.start < 90
    assert columns.stop > 110
    assert 2 * (rows.stop - rows.start) == columns.stop - columns.start
    mask = np.zeros((100, 200), bool)
    mask[0:3, 195:200] = True  # in a corner: the window moves into the image
    rows, columns = crop_window(mask, (2.0, 1.0))
    assert (rows.start, columns.stop) == (0, 200)
    assert crop_window(mask * False, (2.0, 1.0)) == (slice(0, 100), slice(0, 200))


def test_contours_enclose_the_masks_in_the_colours_of_the_style():
    ours = square((3, 40, 60), 1, slice(12, 20), slice(32, 44))
    figure = contour_figure([a_case(Ours=ours)], ["Ours"], STYLE)
    image, axes = figure.axes
    assert not image.get_lines()
    assert axes.get_aspect() == 2.0
    label, prediction = axes.get_lines()
    assert to_hex(label.get_color()) == STYLE.label_color
    assert to_hex(prediction.get_color()) == STYLE.prediction_color
    x, y = prediction.get_data()
    assert (x.min(), x.max(), y.min(), y.max()) == (31.5, 43.5, 11.5, 19.5)
    dsc = 2 * 8 * 8 / (100 + 8 + 96)
    assert [text.get_text() for text in axes.texts] == [f"{100 * dsc:.1f}"]


def test_a_case_without_a_label_shows_the_slice_of_our_prediction():
    ours = square((3, 40, 60), 2, slice(12, 20), slice(32, 44))
    figure = contour_figure([a_case(label=False, Ours=ours)], ["K-means (DINO)", "Ours"], STYLE)
    image, kmeans, axes = figure.axes
    assert image.get_ylabel() == "case-1, slice 2"
    assert [text.get_text() for text in kmeans.texts] == ["needs a label"]
    assert len(axes.get_lines()) == 1
    assert not axes.texts


def test_the_figure_has_a_row_per_case_even_without_masks():
    figure = contour_figure([a_case(label=False), a_case()], ["Ours", "FullySup"], STYLE)
    assert len(figure.axes) == 6
    assert figure.axes[0].get_xlim() == (-0.5, 59.5)


@pytest.fixture
def assignments():
    rng = np.random.default_rng(0)
    rows = [
        (f"c{case}", split, z, index, int(rng.integers(3)), rng.random(), 1.0 + index / 10)
        for case, split in ((0, "train"), (1, "train"), (2, "val"))
        for z in range(9)
        for index in range(3)
    ]
    columns = ["case", "split", "slice", "index", "cluster", "distance", "attribute"]
    return pd.DataFrame(rows, columns=columns)


def test_examples_are_training_rois_of_all_cases_one_per_slice(assignments):
    shown = select_examples(assignments, count=4)
    assert set(shown["split"]) == {"train"}
    assert not shown.duplicated(["cluster", "case", "slice"]).any()
    for cluster, group in shown.groupby("cluster"):
        assert len(group) == 4
        assert group["case"].value_counts().to_dict() == {"c0": 2, "c1": 2}
        training = assignments[
            (assignments["cluster"] == cluster) & (assignments["split"] == "train")
        ]
        assert training["distance"].min() == group["distance"].iloc[0]


@pytest.mark.parametrize("rows", [1, 7, 50, 1000])
def test_the_summary_does_not_depend_on_the_parts(assignments, rows):
    parts = [assignments.iloc[i : i + rows] for i in range(0, len(assignments), rows)]
    statistics, shown = summarise_clusters(parts, count=4)
    pd.testing.assert_frame_equal(shown, select_examples(assignments, count=4))
    training = assignments.query("split == 'train'").groupby("cluster")["attribute"]
    assert statistics["count"].to_dict() == training.size().to_dict()
    assert statistics["mean"].to_dict() == pytest.approx(training.mean().to_dict())


def test_the_target_cluster_has_a_frame_and_every_row_a_label(assignments, tmp_path):
    read_rois = []

    def read_example(row):
        read_rois.append((row["case"], row["slice"], row["index"]))
        return Example(np.zeros((20, 20)), square((1, 20, 20), 0, 5, slice(5, 9))[0], (1.0, 1.0))

    figure = cluster_figure(*summarise_clusters([assignments]), 1, "area_mm2", 1200, read_example)
    save_figure(figure, [str(tmp_path / "clusters.png")], dpi=50)
    assert len(figure.axes) == 3 * EXAMPLES
    assert len(read_rois) == len(select_examples(assignments))
    labels = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert [label.split("\n")[0] for label in labels] == ["cluster 0", "cluster 1", "cluster 2"]
    training = assignments.query("split == 'train'").groupby("cluster")["attribute"]
    for cluster, label in enumerate(labels):
        assert f"{training.size()[cluster]} ROIs" in label
        assert f"area {training.mean()[cluster]:.0f} mm²" in label
    (frame,) = [artist for artist in figure.artists if isinstance(artist, Rectangle)]
    row = figure.axes[EXAMPLES].get_position()
    assert frame.get_y() < row.y0
    assert frame.get_y() + frame.get_height() > row.y1
    assert frame.get_y() > figure.axes[2 * EXAMPLES].get_position().y1
