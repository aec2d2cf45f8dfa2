"""The settings and inputs that each variant depends on."""

import pytest

from umsam.training.variants import VARIANTS, select_settings

TRAINING = {
    "variants": ["plkd"],
    "seeds": [0],
    "label_source": "pseudo_labels",
    "epochs": 200,
    "threads": 2,
    "lambda_1": 0.1,
    "lambda_2": 0.01,
    "feature_scale": 1.0,
    "tau": 0.5,
    "empty_slice_fraction": 1.0,
    "detach_teacher_weights": False,
}
FEATURE = {"lambda_1", "feature_scale", "detach_teacher_weights"}
CONTRASTIVE = {"lambda_2", "tau", "detach_teacher_weights"}


@pytest.mark.parametrize(
    ("variant", "used"),
    [
        ("plkd", {"empty_slice_fraction"}),
        ("supervised", set()),
        ("plkd_cfkd", {"empty_slice_fraction"} | FEATURE),
        ("plkd_cckd", {"empty_slice_fraction"} | CONTRASTIVE),
        ("triple", {"empty_slice_fraction"} | FEATURE | CONTRASTIVE),
    ],
)
def test_a_variant_depends_only_on_the_settings_that_it_uses(variant, used):
    assert set(select_settings(variant, TRAINING)) == {"epochs", "threads"} | used


def test_which_variants_need_sam_and_which_need_labels():
    assert {n for n, v in VARIANTS.items() if v.distills} == {"plkd_cfkd", "plkd_cckd", "triple"}
    assert {n for n, v in VARIANTS.items() if v.supervised} == {"supervised"}
