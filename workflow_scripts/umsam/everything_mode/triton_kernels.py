"""The Triton kernels of `TritonPixels`: each makes one pass over an image's pixels.

The R = H T' rows of a point are its tokens, head by head; T' is T rounded up to a power of two, and
the added rows have mixtures of zero. Vectors with d dimensions per head are the rows of a
block-diagonal matrix [R, H d], so that the matrix units multiply all heads at once. All sizes are
powers of two except the number of pixels n. A program processes one point, or SPAN pixels of it,
BLOCK pixels at a time.

Arrays are stored row by row. Products take operands of type MULTIPLY; float32 is rounded to TF32.
"""

import triton
import triton.language as tl


@triton.jit
def _block_diagonal(address, row, D: tl.constexpr, WIDTH: tl.constexpr, T: tl.constexpr):
    """Load vectors [R, D] as a block-diagonal matrix [R, WIDTH]."""
    column = tl.arange(0, WIDTH)
    inside = column[None, :] // D == row[:, None] // T
    return tl.load(address + row[:, None] * D + column[None, :] % D, mask=inside, other=0.0)


@triton.jit
def _multiply(a, b, MULTIPLY: tl.constexpr):
    return tl.dot(a.to(MULTIPLY), b.to(MULTIPLY), input_precision="tf32")


@triton.jit
def _load_square(address, row, R: tl.constexpr):
    """Load a matrix [R, R]."""
    return tl.load(address + row[:, None] * R + row[None, :])


@triton.jit
def _load_tile(address, row, pixel, inside, n):
    """Load rows and pixels of an array [rows, n]; zero outside the image."""
    return tl.load(address + row[:, None] * n + pixel[None, :], mask=inside[None, :], other=0.0)


@triton.jit
def attend(
    queries, vector_scores, key, position, value, mixtures, scale,  # inputs
    means, mixture_means,  # outputs
    n,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, R: tl.constexpr, T: tl.constexpr,
    WIDTH: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    MULTIPLY: tl.constexpr,
):  # fmt: skip
    """Let a point's tokens attend to the pixels after LAYERS layers; one program per point.

    Inputs: queries [P, R, D]; vector_scores [P, LAYERS, R, R], products of the queries and each
    layer's vectors; key, position and value [WIDTH, n]; mixtures [P, DEPTH, R, n]; scale [P, n].
    Outputs, both weighted by attention times scale: means [P, R, D] of the values of E, and
    mixture_means [P, LAYERS, R, R] of the mixtures.
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    query = _block_diagonal(queries + point * R * D, row, D, WIDTH, T)
    largest = tl.full([R], float("-inf"), tl.float32)
    total = tl.zeros([R], tl.float32)
    sums = tl.zeros([R, WIDTH], tl.float32)
    sums_0 = tl.zeros([R, R], tl.float32)
    sums_1 = tl.zeros([R, R], tl.float32)
    if LAYERS > 0:
        vector_scores_0 = _load_square(vector_scores + point * LAYERS * R * R, row, R)
    if LAYERS > 1:
        vector_scores_1 = _load_square(vector_scores + (point * LAYERS + 1) * R * R, row, R)
    for start in range(0, n, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        keys = _load_tile(key, column, pixel, inside, n).to(tl.float32)
        keys_position = _load_tile(position, column, pixel, inside, n).to(tl.float32)
        if LAYERS > 0:
            s = tl.load(scale + point * n + pixel, mask=inside, other=0.0)
            keys = keys * s[None, :]
            mixture_0 = _load_tile(mixtures + point * DEPTH * R * n, row, pixel, inside, n)
            scores = _multiply(vector_scores_0, mixture_0, MULTIPLY)
            if LAYERS > 1:
                at_mixture = mixtures + (point * DEPTH + 1) * R * n
                mixture_1 = _load_tile(at_mixture, row, pixel, inside, n)
                scores += _multiply(vector_scores_1, mixture_1, MULTIPLY)
            scores = scores * s[None, :]
            scores += _multiply(query, keys + keys_position, MULTIPLY)
        else:
            scores = _multiply(query, keys + keys_position, MULTIPLY)
        scores = tl.where(inside[None, :], scores, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, axis=1))
        shrink = tl.exp(largest - new_largest)
        weights = tl.exp(scores - new_largest[:, None])
        total = total * shrink + tl.sum(weights, axis=1)
        if LAYERS > 0:
            weights *= s[None, :]
        values = tl.trans(_load_tile(value, column, pixel, inside, n))
        sums = sums * shrink[:, None] + _multiply(weights, values, MULTIPLY)
        if LAYERS > 0:
            new = _multiply(weights, tl.trans(mixture_0), MULTIPLY)
            sums_0 = sums_0 * shrink[:, None] + new
        if LAYERS > 1:
            new = _multiply(weights, tl.trans(mixture_1), MULTIPLY)
            sums_1 = sums_1 * shrink[:, None] + new
        largest = new_largest
    on_diagonal = column[None, :] // D == row[:, None] // T
    address = means + point * R * D + row[:, None] * D + column[None, :] % D
    tl.store(address, sums / total[:, None], mask=on_diagonal)
    square = row[:, None] * R + row[None, :]
    if LAYERS > 0:
        tl.store(mixture_means + point * LAYERS * R * R + square, sums_0 / total[:, None])
    if LAYERS > 1:
        tl.store(mixture_means + (point * LAYERS + 1) * R * R + square, sums_1 / total[:, None])


@triton.jit
def mix(
    keys, vector_scores, query, position, scale,  # inputs
    mixtures,  # output; the past layer is also an input
    n,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, TOKENS: tl.constexpr, R: tl.constexpr,
    T: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, SPAN: tl.constexpr,
    BLOCK: tl.constexpr, MULTIPLY: tl.constexpr,
):  # fmt: skip
    """Let the pixels attend to a point's tokens, and divide by the pixels' scale.

    LAYERS, 0 or 1, is the number of past layers. Inputs: keys [P, R, D]; vector_scores [P, R, R],
    products of the keys and the vectors of layer 0; query and position [WIDTH, n]; scale [P, n].
    Output: layer LAYERS of mixtures [P, DEPTH, R, n].
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    token = tl.arange(0, T)[None, :, None] < TOKENS
    diagonal_keys = _block_diagonal(keys + point * R * D, row, D, WIDTH, T)
    at_mixtures = mixtures + point * DEPTH * R * n
    if LAYERS > 0:
        vector_scores_0 = _load_square(vector_scores + point * R * R, row, R)
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        queries = _load_tile(query, column, pixel, inside, n).to(tl.float32)
        queries_position = _load_tile(position, column, pixel, inside, n).to(tl.float32)
        if LAYERS > 0:
            s = tl.load(scale + point * n + pixel, mask=inside, other=1.0)
            mixture_0 = _load_tile(at_mixtures, row, pixel, inside, n)
            scores = _multiply(vector_scores_0, mixture_0, MULTIPLY) * s[None, :]
            queries = queries * s[None, :] + queries_position
            scores += _multiply(diagonal_keys, queries, MULTIPLY)
        else:
            scores = _multiply(diagonal_keys, queries + queries_position, MULTIPLY)
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
    squared_norm, overlaps_0, overlaps_1, coordinates_0, coordinates_1, grams, mixtures, scale,
    new_scale,  # outputs
    n, eps,
    LAYERS: tl.constexpr, DEPTH: tl.constexpr, CHANNELS: tl.constexpr,
    R: tl.constexpr, T: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr, SPAN: tl.constexpr,
    BLOCK: tl.constexpr, MULTIPLY: tl.constexpr,
):  # fmt: skip
    """Compute the scale of the norm after layer LAYERS from the squares of E + C B.

    Inputs: squared_norm [n]; overlaps of E with a layer's basis, [H, D + 1, n]; coordinates
    [P, R, D], without the last one, which is 1; grams, products of the vectors of layers 0 and 0,
    1 and 0 (doubled), 1 and 1, each divided by CHANNELS, [P, 3, R, R] ([P, 1, R, R] if LAYERS is
    0); mixtures [P, DEPTH, R, n]; scale [P, n]. Output: new_scale [P, n].
    """
    point = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, R), tl.arange(0, WIDTH)
    basis = column // D * (D + 1) + column % D
    constant = row // T * (D + 1) + D
    diagonal_0 = _block_diagonal(coordinates_0 + point * R * D, row, D, WIDTH, T)
    at_gram = grams + point * (1 + 2 * LAYERS) * R * R
    gram_00 = _load_square(at_gram, row, R)
    if LAYERS > 0:
        diagonal_1 = _block_diagonal(coordinates_1 + point * R * D, row, D, WIDTH, T)
        gram_10 = _load_square(at_gram + R * R, row, R)
        gram_11 = _load_square(at_gram + 2 * R * R, row, R)
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        mixture_0 = _load_tile(mixtures + point * DEPTH * R * n, row, pixel, inside, n)
        overlap = _load_tile(overlaps_0, basis, pixel, inside, n)
        products = _multiply(diagonal_0, overlap, MULTIPLY)
        products += _load_tile(overlaps_0, constant, pixel, inside, n)
        products *= 2 / CHANNELS
        products += _multiply(gram_00, mixture_0, MULTIPLY)
        variance = tl.load(squared_norm + pixel, mask=inside, other=0.0) / CHANNELS
        variance += tl.sum(products * mixture_0, axis=0)
        if LAYERS > 0:
            mixture_1 = _load_tile(mixtures + (point * DEPTH + 1) * R * n, row, pixel, inside, n)
            overlap = _load_tile(overlaps_1, basis, pixel, inside, n)
            products = _multiply(diagonal_1, overlap, MULTIPLY)
            products += _load_tile(overlaps_1, constant, pixel, inside, n)
            products *= 2 / CHANNELS
            products += _multiply(gram_10, mixture_0, MULTIPLY)
            products += _multiply(gram_11, mixture_1, MULTIPLY)
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
    mask_rows, image, mixtures, vectors, scale, constant, norm_weight, norm_bias, second,
    second_bias, hyper,  # inputs
    masks,  # outputs
    n, width, eps,
    R: tl.constexpr, CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr,
    MASKS: tl.constexpr, SPAN: tl.constexpr, BLOCK: tl.constexpr,
    MULTIPLY: tl.constexpr,
):  # fmt: skip
    """Upscale a point's pixels and compute its masks; a program covers one of the first 2 x 2.

    Inputs: mask_rows [P, MASKS], the row of each mask in `masks`, or -1 to skip it; image
    [4 CHANNELS, n] and constant [4 CHANNELS]; mixtures [P, 2, R, n]; vectors
    [P, 2, 4 CHANNELS, R]; scale [P, n]; second [4 OUTPUTS, CHANNELS]; hyper [P, MASKS, OUTPUTS].
    Output: masks [N, 16 n].
    """
    point = tl.program_id(0).to(tl.int64)
    cell = tl.arange(0, 16)  # by mask, and by row and column of the second 2 x 2
    cell_mask = cell // 4
    mask_row = tl.load(mask_rows + point * MASKS + cell_mask, mask=cell_mask < MASKS, other=-1)
    if tl.max(mask_row, axis=0) < 0:
        return
    part = tl.program_id(2)
    row, channel = tl.arange(0, R), part * CHANNELS + tl.arange(0, CHANNELS)
    output = tl.arange(0, 4 * OUTPUTS)
    at_hyper = hyper + (point * MASKS + cell_mask[:, None]) * OUTPUTS + output[None, :] % OUTPUTS
    on_diagonal = (cell[:, None] % 4 == output[None, :] // OUTPUTS) & (cell_mask[:, None] < MASKS)
    diagonal_hyper = tl.load(at_hyper, mask=on_diagonal, other=0.0)
    offset = tl.load(constant + channel)
    weight = tl.load(norm_weight + tl.arange(0, CHANNELS))
    bias = tl.load(norm_bias + tl.arange(0, CHANNELS))
    at_second = second + output[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    second_weight = tl.load(at_second)
    second_offset = tl.load(second_bias + output)
    at_vectors = vectors + (point * 8 * CHANNELS + channel[:, None]) * R + row[None, :]
    vectors_0 = tl.load(at_vectors)
    vectors_1 = tl.load(at_vectors + 4 * CHANNELS * R)
    at_mixtures = mixtures + point * 2 * R * n
    at_mask = mask_row.to(tl.int64) * 16 * n + cell % 4 // 2 * 4 * width + cell % 2
    first = tl.program_id(1) * SPAN
    for start in range(first, min(first + SPAN, n), BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        inside = pixel < n
        s = tl.load(scale + point * n + pixel, mask=inside, other=0.0)
        mixture_0 = _load_tile(at_mixtures, row, pixel, inside, n)
        mixture_1 = _load_tile(at_mixtures + R * n, row, pixel, inside, n)
        x = _multiply(vectors_0, mixture_0, MULTIPLY)
        x += _multiply(vectors_1, mixture_1, MULTIPLY)
        x = (x + _load_tile(image, channel, pixel, inside, n)) * s[None, :] + offset[:, None]
        x -= (tl.sum(x, axis=0) / CHANNELS)[None, :]
        variance = tl.sum(x * x, axis=0) / CHANNELS
        x = x * tl.rsqrt(variance + eps)[None, :] * weight[:, None] + bias[:, None]
        x = _multiply(second_weight, _gelu(x), MULTIPLY)
        x = _gelu(x + second_offset[:, None])
        logits = _multiply(diagonal_hyper, x, MULTIPLY)
        line = 4 * (pixel // width) + 2 * (part // 2)
        at_logits = line * 4 * width + 4 * (pixel % width) + 2 * (part % 2)
        at_logits = masks + at_mask[:, None] + at_logits[None, :]
        tl.store(at_logits, logits, mask=inside[None, :] & (mask_row >= 0)[:, None])
