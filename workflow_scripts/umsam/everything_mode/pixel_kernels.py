"""The passes of `FusedPixels` over an image's pixels, each one GPU kernel (Triton).

Rows R = H T' are a point's tokens, T' the power of two from T, head by head; token rows beyond T
have mixtures of zero. Vectors of d a head stand as rows of a block-diagonal matrix [R, H d], which
the matrix units multiply at once. Sizes are powers of two; pixels n may be any number. A program
has a point, or SPAN of its pixels, and takes BLOCK of them at a time.

An array's layout is row by row; the arguments say which it is. Products are of `MULTIPLY` numbers,
those of float32 rounded to TF32.
"""

import triton
import triton.language as tl


@triton.jit
def _own(at, row, D: tl.constexpr, WIDTH: tl.constexpr, T: tl.constexpr):
    """The block-diagonal matrix [R, WIDTH] of the vectors [R, D] that lie at `at`."""
    column = tl.arange(0, WIDTH)
    inside = column[None, :] // D == row[:, None] // T
    return tl.load(at + row[:, None] * D + column[None, :] % D, mask=inside, other=0.0)


@triton.jit
def _product(a, b, MULTIPLY: tl.constexpr):
    return tl.dot(a.to(MULTIPLY), b.to(MULTIPLY), input_precision="tf32")


@triton.jit
def _square_at(at, row, R: tl.constexpr):
    """A matrix [R, R]."""
    return tl.load(at + row[:, None] * R + row[None, :])


@triton.jit
def _tile(at, row, pixel, inside, n):
    """Rows and pixels of an array [rows, n]; zero outside of the image."""
    return tl.load(at + row[:, None] * n + pixel[None, :], mask=inside[None, :], other=0.0)


@triton.jit
def attend(
    queries, seen, key, position, value, mixtures, scale,  # what is read
    found, mixed,  # what is written
    n,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, R: tl.constexpr, T: tl.constexpr,
    WIDTH: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    MULTIPLY: tl.constexpr,
):  # fmt: skip
    """Attention of a point's tokens to the pixels, after LAYERS layers. One program a point.

    queries [P, R, D]; seen [P, LAYERS, R, R], products of queries and a layer's vectors; key,
    position and value [WIDTH, n]; mixtures [P, DEPTH, R, n]; scale [P, n]. found [P, R, D]
    is the mean of E's values, mixed [P, LAYERS, R, R] that of the mixtures, both under the weights
    times the scale.
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    query = _own(queries + point * R * D, row, D, WIDTH, T)
    largest = tl.full([R], float("-inf"), tl.float32)
    total = tl.zeros([R], tl.float32)
    sums = tl.zeros([R, WIDTH], tl.float32)
    sums_0 = tl.zeros([R, R], tl.float32)
    sums_1 = tl.zeros([R, R], tl.float32)
    if LAYERS > 0:
        seen_0 = _square_at(seen + point * LAYERS * R * R, row, R)
    if LAYERS > 1:
        seen_1 = _square_at(seen + (point * LAYERS + 1) * R * R, row, R)
    for start in range(0, n, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        keys = _tile(key, column, pixel, inside, n).to(tl.float32)
        keys_position = _tile(position, column, pixel, inside, n).to(tl.float32)
        if LAYERS > 0:
            s = tl.load(scale + point * n + pixel, mask=inside, other=0.0)
            keys = keys * s[None, :]
            mixture_0 = _tile(mixtures + point * DEPTH * R * n, row, pixel, inside, n)
            scores = _product(seen_0, mixture_0, MULTIPLY)
            if LAYERS > 1:
                mixture_1 = _tile(mixtures + (point * DEPTH + 1) * R * n, row, pixel, inside, n)
                scores += _product(seen_1, mixture_1, MULTIPLY)
            scores = scores * s[None, :]
            scores += _product(query, keys + keys_position, MULTIPLY)
        else:
            scores = _product(query, keys + keys_position, MULTIPLY)
        scores = tl.where(inside[None, :], scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, axis=1))
        shrink = tl.exp(largest - larger)
        weights = tl.exp(scores - larger[:, None])
        total = total * shrink + tl.sum(weights, axis=1)
        if LAYERS > 0:
            weights *= s[None, :]
        values = tl.trans(_tile(value, column, pixel, inside, n))
        sums = sums * shrink[:, None] + _product(weights, values, MULTIPLY)
        if LAYERS > 0:
            new = _product(weights, tl.trans(mixture_0), MULTIPLY)
            sums_0 = sums_0 * shrink[:, None] + new
        if LAYERS > 1:
            new = _product(weights, tl.trans(mixture_1), MULTIPLY)
            sums_1 = sums_1 * shrink[:, None] + new
        largest = larger
    own = column[None, :] // D == row[:, None] // T
    at = found + point * R * D + row[:, None] * D + column[None, :] % D
    tl.store(at, sums / total[:, None], mask=own)
    square = row[:, None] * R + row[None, :]
    if LAYERS > 0:
        tl.store(mixed + point * LAYERS * R * R + square, sums_0 / total[:, None])
    if LAYERS > 1:
        tl.store(mixed + (point * LAYERS + 1) * R * R + square, sums_1 / total[:, None])


@triton.jit
def mix(
    keys, seen, query, position, scale,  # what is read
    mixtures,  # what is written; of the layer before it is read
    n,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, TOKENS: tl.constexpr, R: tl.constexpr,
    T: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, SPAN: tl.constexpr,
    BLOCK: tl.constexpr, MULTIPLY: tl.constexpr,
):  # fmt: skip
    """The pixels' attention to a point's tokens, divided by their scale.

    LAYERS were passed before, 0 or 1. keys [P, R, D]; seen [P, R, R], products of keys and the
    vectors of layer 0; query and position [WIDTH, n]; scale [P, n]. Writes layer LAYERS of mixtures
    [P, DEPTH, R, n].
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    token = tl.arange(0, T)[None, :, None] < TOKENS
    own_keys = _own(keys + point * R * D, row, D, WIDTH, T)
    at_mixtures = mixtures + point * DEPTH * R * n
    if LAYERS > 0:
        seen_0 = _square_at(seen + point * R * R, row, R)
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        queries = _tile(query, column, pixel, inside, n).to(tl.float32)
        queries_position = _tile(position, column, pixel, inside, n).to(tl.float32)
        if LAYERS > 0:
            s = tl.load(scale + point * n + pixel, mask=inside, other=1.0)
            mixture_0 = _tile(at_mixtures, row, pixel, inside, n)
            scores = _product(seen_0, mixture_0, MULTIPLY) * s[None, :]
            queries = queries * s[None, :] + queries_position
            scores += _product(own_keys, queries, MULTIPLY)
        else:
            scores = _product(own_keys, queries + queries_position, MULTIPLY)
        scores = tl.reshape(scores, [R // T, T, BLOCK])
        scores = tl.where(token, scores, float("-inf"))
        weights = tl.exp(scores - tl.max(scores, axis=1)[:, None, :])
        total = tl.sum(weights, axis=1)
        if LAYERS > 0:
            total *= s[None, :]
        mixture = tl.reshape(weights / total[:, None, :], [R, BLOCK])
        at_new = at_mixtures + LAYERS * R * n + row[:, None] * n + pixel[None, :]
        tl.store(at_new, mixture.to(mixtures.dtype.element_ty), mask=inside[None, :])


@triton.jit
def normalise(
    square, overlaps_0, overlaps_1, coordinates_0, coordinates_1, grams, mixtures, scale,
    new_scale,  # what is written
    n, eps,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, CHANNELS: tl.constexpr,
    R: tl.constexpr, T: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, SPAN: tl.constexpr,
    BLOCK: tl.constexpr, MULTIPLY: tl.constexpr,
):  # fmt: skip
    """The scale of the norm after layer LAYERS, from the squares of E + C B.

    square [n]; overlaps of a layer's basis with E, [H, D + 1, n]; coordinates [P, R, D], a last one
    being 1; grams [P, 3, R, R] (or [P, 1, R, R] if LAYERS is 0), means over the channels: vectors
    0 with 0, 1 with 0 (twice), 1 with 1; mixtures [P, DEPTH, R, n]; scale and new_scale [P, n].
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    basis = column // D * (D + 1) + column % D
    constant = row // T * (D + 1) + D
    own_0 = _own(coordinates_0 + point * R * D, row, D, WIDTH, T)
    at_gram = grams + point * (1 + 2 * LAYERS) * R * R
    gram_00 = _square_at(at_gram, row, R)
    if LAYERS > 0:
        own_1 = _own(coordinates_1 + point * R * D, row, D, WIDTH, T)
        gram_10 = _square_at(at_gram + R * R, row, R)
        gram_11 = _square_at(at_gram + 2 * R * R, row, R)
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        mixture_0 = _tile(mixtures + point * DEPTH * R * n, row, pixel, inside, n)
        overlap = _tile(overlaps_0, basis, pixel, inside, n)
        products = _product(own_0, overlap, MULTIPLY)
        products += _tile(overlaps_0, constant, pixel, inside, n)
        products *= 2 / CHANNELS
        products += _product(gram_00, mixture_0, MULTIPLY)
        variance = tl.load(square + pixel, mask=inside, other=0.0) / CHANNELS
        variance += tl.sum(products * mixture_0, axis=0)
        if LAYERS > 0:
            mixture_1 = _tile(mixtures + (point * DEPTH + 1) * R * n, row, pixel, inside, n)
            overlap = _tile(overlaps_1, basis, pixel, inside, n)
            products = _product(own_1, overlap, MULTIPLY)
            products += _tile(overlaps_1, constant, pixel, inside, n)
            products *= 2 / CHANNELS
            products += _product(gram_10, mixture_0, MULTIPLY)
            products += _product(gram_11, mixture_1, MULTIPLY)
            variance += tl.sum(products * mixture_1, axis=0)
        if LAYERS > 0:
            s = tl.load(scale + point * n + pixel, mask=inside, other=0.0)
            result = s * tl.rsqrt(variance * s * s + eps)
        else:
            result = tl.rsqrt(variance + eps)
        tl.store(new_scale + point * n + pixel, result, mask=inside)


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def upscale(
    places, image, mixtures, vectors, scale, constant, norm_weight, norm_bias, second, second_bias,
    hyper,  # what is read
    masks,  # what is written
    n, width, eps,
    R: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
    MASKS: tl.constexpr, SPAN: tl.constexpr, BLOCK: tl.constexpr,
    MULTIPLY: tl.constexpr,
):  # fmt: skip
    """The output upscaling and the masks of a point; a program has one pixel of the first 2 x 2.

    places [P, MASKS] says which of `masks` [N, 16 n] a mask is, or -1; image and constant
    [4 CHANNELS, n] and [4 CHANNELS]; mixtures [P, 2, R, n]; vectors [P, 2, 4 CHANNELS, R]; scale
    [P, n]; second [4 OUTPUTS, CHANNELS]; hyper [P, MASKS, OUTPUTS].
    """
    point = tl.program_id(0).to(tl.int64)
    answer = tl.arange(0, 16)  # mask, row and column of the second 2 x 2
    which = answer // 4
    place = tl.load(places + point * MASKS + which, mask=which < MASKS, other=-1)
    if tl.max(place, axis=0) < 0:
        return
    part = tl.program_id(2)
    row, channel = tl.arange(0, R), part * CHANNELS + tl.arange(0, CHANNELS)
    output = tl.arange(0, 4 * OUTPUTS)
    at_hyper = hyper + (point * MASKS + which[:, None]) * OUTPUTS + output[None, :] % OUTPUTS
    own = (answer[:, None] % 4 == output[None, :] // OUTPUTS) & (which[:, None] < MASKS)
    own_hyper = tl.load(at_hyper, mask=own, other=0.0)
    offset = tl.load(constant + channel)
    weight = tl.load(norm_weight + tl.arange(0, CHANNELS))
    bias = tl.load(norm_bias + tl.arange(0, CHANNELS))
    at_second = second + output[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    second_all = tl.load(at_second)
    second_offset = tl.load(second_bias + output)
    at_vectors = vectors + (point * 8 * CHANNELS + channel[:, None]) * R + row[None, :]
    vectors_0 = tl.load(at_vectors)
    vectors_1 = tl.load(at_vectors + 4 * CHANNELS * R)
    at_mixtures = mixtures + point * 2 * R * n
    at_place = place.to(tl.int64) * 16 * n + answer % 4 // 2 * 4 * width + answer % 2
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        s = tl.load(scale + point * n + pixel, mask=inside, other=0.0)
        mixture_0 = _tile(at_mixtures, row, pixel, inside, n)
        mixture_1 = _tile(at_mixtures + R * n, row, pixel, inside, n)
        x = _product(vectors_0, mixture_0, MULTIPLY)
        x += _product(vectors_1, mixture_1, MULTIPLY)
        x = (x + _tile(image, channel, pixel, inside, n)) * s[None, :] + offset[:, None]
        x -= (tl.sum(x, axis=0) / CHANNELS)[None, :]
        variance = tl.sum(x * x, axis=0) / CHANNELS
        x = x * tl.rsqrt(variance + eps)[None, :] * weight[:, None] + bias[:, None]
        x = _product(second_all, _gelu(x), MULTIPLY)
        x = _gelu(x + second_offset[:, None])
        logits = _product(own_hyper, x, MULTIPLY)
        line = 4 * (pixel // width) + 2 * (part // 2)
        at_logits = line * 4 * width + 4 * (pixel % width) + 2 * (part % 2)
        at_logits = masks + at_place[:, None] + at_logits[None, :]
        tl.store(at_logits, logits, mask=inside[None, :] & (place >= 0)[:, None])
