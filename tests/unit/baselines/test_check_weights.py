import hashlib

import pytest

from umsam.baselines.weights import check_weights
from umsam.errors import InputError


def test_a_wrong_file_is_named_with_both_checksums(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    right = hashlib.sha256(b"model.safetensors").hexdigest()
    check_weights(tmp_path, {"config.json": None, "model.safetensors": right}, "big")
    with pytest.raises(InputError) as caught:
        check_weights(tmp_path, {"config.json": None, "model.safetensors": "0" * 64}, "big")
    for words in (right, "0" * 64, "model.safetensors", "baselines.weights.big.sha256"):
        assert words in str(caught.value)
