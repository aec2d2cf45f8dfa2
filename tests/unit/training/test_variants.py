"""Which settings a variant depends on."""

import pytest

from umsam.training.variants import VARIANTS, settings_of

TRAINING = {
    "variants": ["plkd"],
    "seeds": [0],
    "targets": "pseudo_labels",
    "epochs": 200,
    "lambda_1": 0.1,
    "lambda_2": 0.01,
    "feature_unit": 1.0,
    "tau": 0.5,
    "empty_slices": 1.0,
    "detach_teacher_weights": False,
}


@pytest.mark.parametrize(
    ("variant", "used"),
    [
        ("plkd", {"empty_slices"}),
        ("supervised", set()),
        ("plkd_cfkd", {"empty_slices", "lambda_1", "feature_unit", "detach_teacher_weights"}),
        ("plkd_cckd", {"empty_slices", "lambda_2", "tau", "detach_teacher_weights"}),
        (
            "triple",
            {
                "empty_slices",
                "lambda_1",
                "feature_unit",
                "lambda_2",
                "tau",
                "detach_teacher_weights",
            },
        ),
    ],
)
def test_only_what_a_variant_uses(variant, used):
    assert set(settings_of(variant, TRAINING)) == {"epochs"} | used


def test_who_needs_sam_and_who_labels():
    assert {n for n, v in VARIANTS.items() if v.distills} == {"plkd_cfkd", "plkd_cckd", "triple"}
    assert {n for n, v in VARIANTS.items() if v.supervised} == {"supervised"}
