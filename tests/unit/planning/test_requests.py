"""Memory and time by the size of volumes."""

import numpy as np
import pytest
import SimpleITK as sitk
from study import Study, job, write_sheet

from umsam.planning.requests import UNKNOWN_SIZE, Requests

SIZES = {"a": (1, 100, 200), "b": (2, 100, 200), "d": (10, 100, 200)}  # c and e are empty files


@pytest.fixture
def requests(tmp_path):
    write_sheet(tmp_path)
    for case, shape in SIZES.items():
        image = sitk.GetImageFromArray(np.zeros(shape, np.uint8))
        sitk.WriteImage(image, str(tmp_path / f"{case}.nii"))
    return Requests(Study().cases)


def test_amounts_grow_with_the_volume_and_double_with_each_attempt(requests):
    amount = requests.by_volume(1000, 50)
    assert amount(job(case="a"), 1) == 1001
    assert amount(job(case="d"), 1) == 1010
    assert amount(job(case="d"), 3) == 4040
    assert amount(job(case="c"), 1) == 1000 + 50 * UNKNOWN_SIZE  # a rule may still make it


def test_the_largest_and_all_training_volumes(requests):
    assert requests.by_largest_volume(0, 100)(job(), 1) == 100 * UNKNOWN_SIZE
    assert requests.by_training_set(0, 100)(job(), 1) == 6  # a and b


def test_everything_mode_takes_longer_with_more_points(requests):
    minutes = requests.sam_minutes(job(case="d"), 1)
    requests.cases.settings.of("mine")["sam"]["points_per_side"] = 64
    assert requests.sam_minutes(job(case="d"), 1) > minutes
    assert requests.sam_memory(job(case="d"), 1) == 2000 + 20
