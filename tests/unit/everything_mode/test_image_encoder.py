"""The fast forward pass of the encoder against segment_anything's own."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import ImageEncoderViT

from umsam.everything_mode.image_encoder import ImageEncoder, _attend


def make_vit(seed, grid=7, window=3, rel_pos=True, dim=24, heads=2):
    """Make an encoder with padded windows, one global block and nonzero relative positions."""
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=16 * grid,
        patch_size=16,
        embed_dim=dim,
        depth=3,
        num_heads=heads,
        out_chans=8,
        use_rel_pos=rel_pos,
        window_size=window,
        global_attn_indexes=(1,),
    )
    for name, parameter in encoder.named_parameters():
        if "rel_pos" in name or "bias" in name or "norm" in name:
            parameter.data += 0.5 * torch.randn_like(parameter)
    return encoder.eval()


def encode_with_both(encoder, batch=2):
    image = torch.randn(batch, 3, encoder.img_size, encoder.img_size)
    with torch.no_grad():
        return ImageEncoder(encoder).encode(image), encoder(image)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    grid=st.integers(1, 8),
    window=st.integers(1, 4),
    rel_pos=st.booleans(),
    heads=st.sampled_from([1, 2, 3]),
    batch=st.integers(1, 3),
)
def test_any_encoder_returns_the_numbers_of_meta(seed, grid, window, rel_pos, heads, batch):
    actual, expected = encode_with_both(make_vit(seed, grid, window, rel_pos, heads=heads), batch)
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 20),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_attention_of_parts_equals_attention_of_their_concatenation(seed, tokens, lengths):
    torch.manual_seed(seed)
    queries, keys = ([torch.randn(2, 3, tokens, n) for n in lengths] for _ in range(2))
    values = torch.randn(2, 3, tokens, lengths[0])
    weights = torch.softmax(torch.cat(queries, -1) @ torch.cat(keys, -1).mT, dim=-1)
    torch.testing.assert_close(_attend(queries, keys, values), weights @ values)


def test_half_precision_matches_meta_to_rounding():
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = encode_with_both(make_vit(0))
    assert (actual - expected).norm() < 0.02 * expected.norm()


def test_other_encoders_run_unchanged():
    other = torch.nn.Conv2d(3, 8, 16, 16)
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(ImageEncoder(other).encode(image), other(image))


def test_the_sizes_of_an_official_model():
    """64 x 64 tokens in windows of 14, with one block of each kind."""
    torch.manual_seed(1)
    encoder = ImageEncoderViT(
        img_size=1024, embed_dim=48, depth=2, num_heads=2, out_chans=8, use_rel_pos=True,
        window_size=14, global_attn_indexes=(1,),
    ).eval()  # fmt: skip
    actual, expected = encode_with_both(encoder, 1)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
