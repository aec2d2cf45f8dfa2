"""SAM2: agreement with the steps of transformers, an oracle model, and loading."""

import json

import numpy as np
import pytest
import torch
from oracles import balls, bright
from scipy import ndimage
from small_sam2 import SIZE, small_config, small_sam2
from transformers import Sam2ImageProcessor, Sam2VideoModel, Sam2VideoProcessor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoSegmentationOutput
from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

from umsam.baselines.sam2 import Prompt, box_prompt, load_sam2, point_prompt, segment_video
from umsam.data.intensity import to_rgb_uint8
from umsam.errors import InputError
from umsam.evaluation.dice import dice

SHAPE = (7, 40, 56)
ORGAN = balls(SHAPE, [(3, 18, 20)], 12, (3, 1, 1))
OTHER = balls(SHAPE, [(3, 30, 45)], 8, (3, 1, 1))


class OracleSam2(Sam2VideoModel):
    """The model of transformers with its propagation, but with exact masks.

    On the prompted frame, the mask is the object under the point or in the box. On other frames, it
    is the object that overlaps the mask of the previous frame.
    """

    def forward(self, session, frame_idx=None, frame=None, reverse=False, **_):
        objects, _ = ndimage.label(session.get_frame(frame_idx)[0].numpy() > 0, np.ones((3, 3)))
        self.masks = getattr(self, "masks", {})
        prompt = session.point_inputs_per_obj[0].get(frame_idx)
        if prompt is not None:
            points = prompt["point_coords"][0, 0].numpy().round().astype(int)
            labels = prompt["point_labels"][0, 0].tolist()
            x, y = points[0] if labels == [1] else (points[0] + points[1]) // 2
            mask = objects == objects[y, x]
        else:
            previous = self.masks[frame_idx + 1 if reverse else frame_idx - 1]
            overlapping = np.unique(objects[previous & (objects > 0)])
            mask = np.isin(objects, overlapping)
        self.masks[frame_idx] = mask
        depth = torch.tensor(np.where(mask, 1.0, -1.0), dtype=torch.float32)[None, None]
        logits = torch.nn.functional.interpolate(depth, (SIZE // 2, SIZE // 2), mode="area")
        return Sam2VideoSegmentationOutput(
            object_ids=[1], pred_masks=logits, object_score_logits=None, frame_idx=frame_idx
        )


@pytest.mark.parametrize("simulate", [point_prompt, box_prompt])
def test_the_object_is_propagated_in_both_directions(simulate):
    model = OracleSam2(small_config()).eval()
    prompt = simulate(ORGAN)
    assert prompt.z == 3
    mask = segment_video(model, bright(ORGAN, OTHER), prompt, "cpu")
    assert dice(mask, ORGAN) > 0.9  # frames are resized to 64 x 64, masks are 32 x 32
    assert not (mask & OTHER).any()
    assert (mask.any((1, 2)) == ORGAN.any((1, 2))).all()


def model_with_visible_object() -> Sam2VideoModel:
    """Random weights, except that the object is always visible; its logits are close to 0."""
    model = small_sam2(4)
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    return model


@pytest.mark.parametrize("first", [0, 2, 4])
def test_the_mask_equals_that_of_the_steps_of_transformers(first):
    model = model_with_visible_object()
    volume = np.random.default_rng(0).random((5, 40, 56)).astype(np.float32)
    mask = segment_video(model, volume, Prompt(first, point=(20.5, 11.5)), "cpu")

    size = {"height": SIZE, "width": SIZE}
    processor = Sam2VideoProcessor(
        Sam2ImageProcessor(size=size), Sam2VideoVideoProcessor(size=size)
    )
    session = processor.init_video_session(video=[to_rgb_uint8(image) for image in volume])
    processor.add_inputs_to_inference_session(
        session, first, 1, input_points=[[[[20.5, 11.5]]]], input_labels=[[[1]]]
    )
    outputs = [model(session, frame_idx=first)]
    outputs += [model(session, frame_idx=z) for z in range(first + 1, 5)]
    outputs += [model(session, frame_idx=z, reverse=True) for z in range(first - 1, -1, -1)]
    assert sorted(output.frame_idx for output in outputs) == list(range(5))
    for output in outputs:
        (expected,) = processor.post_process_masks([output.pred_masks], [[40, 56]])
        assert (mask[output.frame_idx] == expected[0, 0].numpy()).all()
    assert 0 < mask.mean() < 1


def test_a_folder_in_the_official_format_is_loaded(tmp_path):
    model = small_sam2()
    model.save_pretrained(tmp_path)
    loaded = load_sam2(tmp_path, "cpu").state_dict()
    assert not loaded.keys() ^ model.state_dict().keys()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


def test_errors_state_what_is_wrong_with_the_folder(tmp_path):
    with pytest.raises(InputError, match=r"baselines\.weights\.sam2"):
        load_sam2(tmp_path, "cpu")
    small_sam2().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["mask_decoder_config"]["mlp_dim"] = 48
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="mask_decoder"):
        load_sam2(tmp_path, "cpu")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match=r"model\.safetensors of a SAM2 video model"):
        load_sam2(tmp_path, "cpu")
