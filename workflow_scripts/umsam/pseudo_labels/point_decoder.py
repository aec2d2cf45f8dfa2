"""SAM's mask decoder for many points of one image: the same numbers from a fraction of the work.

segment_anything's decoder carries the image's pixels through every layer once for each point. Here
they never exist for a point. Before the first layer the pixels are the same for all points; a layer
adds to each pixel a mixture of one vector a head and token, T x H of them, and normalises the sum.
So after any layer the pixels of a point are

    keys = s (E + C B) + c

with E [D, pixels] shared by all points; C [T H, pixels] the attention of the pixels to the tokens;
B [T H, D] the vectors; s [pixels] the norms' scale; and c [D] a constant. Products with the pixels,
which is all that attention needs, become products with E, done once an image in the heads' few
dimensions, and with C, which has T H = 56 rows instead of D = 256. The variance that a norm divides
by is a quadratic form of C's columns.

Reading order: `PointDecoder` holds what depends on the weights, `ImageTerms` what depends on the
image, `Pixels` the factors above for a batch of points.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


@dataclass
class Pixels:
    """keys = s (E + sum over layers of C B) + c, for P points (see the module's docstring).

    One entry a layer passed: `mixtures` C [P, H T, pixels], `vectors` B [P, H T, D] and the
    coordinates of B in the layer's basis, `coordinates` [P, H, T, d + 1]. `scale` is s
    [P, pixels], None for 1.
    """

    mixtures: list[Tensor]
    vectors: list[Tensor]
    coordinates: list[Tensor]
    scale: Tensor | None = None


@dataclass(frozen=True)
class Projection:
    """An attention's projection W of the pixels to H heads of d dimensions, the same for any image.

    `weight` is W [H d, D]; `constant` is W c + bias [H, d], for attention's values, which see no
    position; `position` [H, d, pixels] adds W times the positional encoding.
    """

    weight: Tensor
    constant: Tensor
    position: Tensor

    def of(self, shared: Tensor) -> "Projected":
        """See E [D, pixels] through it."""
        embedding = (self.weight @ shared).unflatten(0, (len(self.constant), -1))
        return Projected(self, embedding, embedding + self.position)


@dataclass(frozen=True)
class Projected:
    """An image's E through a projection: W E [H, d, pixels], and the same with the positions."""

    by: Projection
    embedding: Tensor
    at_positions: Tensor


@dataclass(frozen=True)
class LayerTerms:
    """What one layer needs of the image."""

    key: Projected
    value: Projected
    query: Projected | None  # None after the last layer, whose pixels ask nothing
    overlaps: list[Tensor]  # of the bases of this layer and earlier ones with E, [H, d + 1, pixels]
    square: Tensor  # of the columns of E without mean, [pixels]


@dataclass(frozen=True)
class ImageTerms:
    """An image's embedding as the decoder uses it, shared by all points."""

    layers: list[LayerTerms]
    upscaled: Tensor  # the first upscaling convolution of E, [pixels, 4 x channels]
    size: tuple[int, int]


@dataclass(frozen=True)
class Decoded:
    """Points after the transformer: predicted IoU [P, M] of their masks, and what masks need."""

    predicted_iou: Tensor
    mask_tokens: Tensor
    pixels: Pixels

    def at(self, points: Tensor) -> "Decoded":
        """The same for some of the points, by their indices."""
        p = self.pixels
        chosen = Pixels([c[points] for c in p.mixtures], [b[points] for b in p.vectors], [])
        chosen.scale = p.scale[points]
        return Decoded(self.predicted_iou[points], self.mask_tokens[points], chosen)


class PointDecoder:
    """Decodes points of an image with the weights of a `Sam`; masks only where they are asked for.

    Works on the model's own device, in float32.
    """

    def __init__(self, sam: Sam) -> None:
        decoder, prompts = sam.mask_decoder, sam.prompt_encoder
        self.decoder = decoder
        self.transformer = decoder.transformer
        self.depth = len(self.transformer.layers)
        self.position = prompts.get_dense_pe()[0].flatten(1)
        self.no_mask = prompts.no_mask_embed.weight[0]
        self.output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        norms = [layer.norm4 for layer in self.transformer.layers]
        self.constants = [torch.zeros_like(self.no_mask), *(norm.bias for norm in norms)]
        self.bases = self._bases(norms)
        self.projections = [self._projections(i) for i in range(self.depth + 1)]
        convolution, self.norm, _, self.second, _ = decoder.output_upscaling
        # as matrices whose columns are (row, column, channel) of the 2 x 2 outputs of a pixel
        self.first_weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        self.first_constant = self.constants[-1] @ self.first_weight + convolution.bias.repeat(4)
        self.second_weight = self.second.weight.permute(0, 2, 3, 1).flatten(1)
        self.second_bias = self.second.bias.repeat(4)

    def _bases(self, norms: list[nn.LayerNorm]) -> list[list[Tensor]]:
        """For the norm of each layer, the basis of each B so far, without mean: [H, d + 1, D].

        A vector that image-to-token attention adds is a head's value times that head's part of the
        output projection, plus a constant: every head's weights sum to one, so the constants are
        shared out among the heads. The constant is the last row, for a coordinate that is one.
        """
        bases: list[list[Tensor]] = []
        earlier: list[Tensor] = []
        for i, (layer, norm) in enumerate(zip(self.transformer.layers, norms, strict=True)):
            attention = layer.cross_attn_image_to_token
            heads = attention.num_heads
            weight = attention.out_proj.weight.T.reshape(heads, -1, len(self.no_mask))
            constant = (attention.out_proj.bias + self.constants[i]) / heads
            new = torch.cat([weight, constant.expand(heads, 1, -1)], dim=1)
            bases.append([_centred(basis) for basis in (*earlier, new)])
            earlier = [basis * norm.weight for basis in bases[-1]]
        return bases

    def _projections(self, i: int) -> list[Projection]:
        """How attention sees the pixels before layer i: their keys, values and, but after the last
        layer, queries."""
        if i == self.depth:
            last = self.transformer.final_attn_token_to_image
            linears = [(last.k_proj, last), (last.v_proj, last)]
        else:
            to_image = self.transformer.layers[i].cross_attn_token_to_image
            to_tokens = self.transformer.layers[i].cross_attn_image_to_token
            linears = [
                (to_image.k_proj, to_image),
                (to_image.v_proj, to_image),
                (to_tokens.q_proj, to_tokens),
            ]
        projections = []
        for linear, attention in linears:
            constant = linear.weight @ self.constants[i] + linear.bias
            position = linear.weight @ self.position + constant[:, None]
            maps = (x.unflatten(0, (attention.num_heads, -1)) for x in (constant, position))
            projections.append(Projection(linear.weight, *maps))
        return projections

    # ------------------------------------------------------------------ once an image

    def image_terms(self, embedding: Tensor) -> ImageTerms:
        """What all points share, from the encoder's output [D, h, w]."""
        shared = embedding.flatten(1) + self.no_mask[:, None]
        layers = []
        for i in range(self.depth + 1):
            centred = _centred(shared, dim=0) if i < self.depth else shared
            key, value, *query = (each.of(shared) for each in self.projections[i])
            overlaps = [basis @ centred for basis in self.bases[i]] if i < self.depth else []
            square = centred.square().sum(dim=0)
            layers.append(LayerTerms(key, value, query[0] if query else None, overlaps, square))
            if i < self.depth:
                shared = centred * self.transformer.layers[i].norm4.weight[:, None]
        upscaled = shared.T @ self.first_weight
        return ImageTerms(layers, upscaled, tuple(embedding.shape[-2:]))

    # ------------------------------------------------------------------ once a batch of points

    def decode(self, image: ImageTerms, sparse: Tensor) -> Decoded:
        """Run the transformer on points.

        Parameters
        ----------
        sparse
            Their embeddings from SAM's prompt encoder, [P, N, D].
        """
        outputs = self.output_tokens.expand(len(sparse), -1, -1)
        prompt = torch.cat([outputs, sparse], dim=1)
        queries, pixels = prompt, Pixels([], [], [])
        for i, layer in enumerate(self.transformer.layers):
            terms = image.layers[i]
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                q = queries + prompt
                queries = queries + layer.self_attn(q=q, k=q, v=queries)
            queries = layer.norm1(queries)
            attention = layer.cross_attn_token_to_image
            queries = layer.norm2(queries + _attend(attention, terms, queries, prompt, pixels))
            queries = layer.norm3(queries + layer.mlp(queries))
            self._update(i, terms, queries, prompt, pixels)
        attention = self.transformer.final_attn_token_to_image
        found = _attend(attention, image.layers[-1], queries, prompt, pixels)
        queries = self.transformer.norm_final_attn(queries + found)
        tokens = self.decoder.num_mask_tokens
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        return Decoded(iou, queries[:, 2 : 1 + tokens], pixels)

    def _update(
        self, i: int, terms: LayerTerms, queries: Tensor, prompt: Tensor, pixels: Pixels
    ) -> None:
        """The pixels attend to the tokens; the sum is normalised (norm4)."""
        layer = self.transformer.layers[i]
        attention, norm = layer.cross_attn_image_to_token, layer.norm4
        key = _heads(attention.k_proj(queries + prompt), attention.num_heads)
        value = _heads(attention.v_proj(queries), attention.num_heads)
        mixture = _scores(key / math.sqrt(key.shape[-1]), terms.query, pixels)
        _softmax_over_tokens(mixture, pixels.scale)
        pixels.mixtures.append(mixture.flatten(1, 2))
        pixels.coordinates.append(F.pad(value, (0, 1), value=1.0))
        new = pixels.coordinates[-1] @ self.bases[i][-1]
        pixels.vectors = [*map(_centred, pixels.vectors), new.flatten(1, 2)]

        variance = _square(terms, pixels) / len(self.no_mask)
        before = pixels.scale
        if before is None:
            pixels.scale = (variance + norm.eps).rsqrt()
        else:
            pixels.scale = before * (variance * before.square() + norm.eps).rsqrt()
        pixels.vectors = [b * norm.weight for b in pixels.vectors]

    # ------------------------------------------------------------------ once a point worth it

    def mask_logits(self, image: ImageTerms, decoded: Decoded, wanted: Tensor) -> Tensor:
        """Masks of decoded points: the output upscaling and the hypernetworks.

        Parameters
        ----------
        wanted
            Which masks of each point, bool [P, M].

        Returns
        -------
        Tensor
            [N, 4 h, 4 w], in the order of `wanted`.
        """
        tokens = decoded.mask_tokens
        networks = self.decoder.output_hypernetworks_mlps[1:]
        hyper = torch.stack([mlp(tokens[:, m]) for m, mlp in enumerate(networks)], dim=1)
        h, w = image.size
        cells = 16 * h * w
        masks = hyper.new_empty(int(wanted.sum()), cells)
        points, rows = _block(hyper.device, len(tokens), h * w, 16 * hyper.shape[-1])
        first = 0
        for start in range(0, len(tokens), points):
            some = slice(start, start + points)
            chosen = wanted[some]
            last = first + int(chosen.sum())
            vectors = [b[some] @ self.first_weight for b in decoded.pixels.vectors]
            for row in range(0, h * w, rows):
                x = self._upscaled(image, decoded.pixels, vectors, some, slice(row, row + rows))
                if len(x) == 1:
                    products = hyper[start, chosen[0]] @ x[0].T
                else:
                    products = (hyper[some] @ x.transpose(1, 2))[chosen]
                masks[first:last, 16 * row : 16 * (row + rows)] = products
            first = last
        return masks.index_select(1, _shuffled(h, w, masks.device)).view(-1, 4 * h, 4 * w)

    def _upscaled(
        self, image: ImageTerms, pixels: Pixels, vectors: list[Tensor], points: slice, rows: slice
    ) -> Tensor:
        """The output upscaling of some points and pixels: [P, 16 pixels, channels]."""
        scale = pixels.scale[points, rows]
        x = torch.addcmul(self.first_constant, scale[:, :, None], image.upscaled[rows])
        for c, b in zip(pixels.mixtures, vectors, strict=True):
            scaled = c[points, :, rows] * scale[:, None]
            x.baddbmm_(scaled.transpose(1, 2), b)
        x = x.view(-1, len(self.norm.weight))
        x = F.layer_norm(x, x.shape[1:], self.norm.weight, self.norm.bias, self.norm.eps)
        x = (F.gelu(x) @ self.second_weight).add_(self.second_bias)
        return F.gelu(x).view(len(scale), -1, self.second.out_channels)


def _block(device: torch.device, points: int, pixels: int, width: int) -> tuple[int, int]:
    """Points and pixels to take at a time, so that `width` floats a pixel stay in the cache."""
    floats = 2**19 if device.type == "cpu" else 2**27
    rows = max(1, min(pixels, floats // width))
    return max(1, min(points, floats // (width * rows))), rows


def _shuffled(h: int, w: int, device: torch.device) -> Tensor:
    """Where the cells of [4 h, 4 w] lie in the order that two 2 x 2 upscalings leave."""
    cells = torch.arange(16 * h * w, device=device).view(h, w, 2, 2, 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten()


def _centred(x: Tensor, dim: int = -1) -> Tensor:
    return x - x.mean(dim=dim, keepdim=True)


def _heads(x: Tensor, heads: int) -> Tensor:
    """[P, T, H d] as [P, H, T, d]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _per_head(x: Tensor, y: Tensor, out: Tensor, add: bool = False) -> None:
    """out (+)= x y: [P, H, T, n] from [P, H, T, d] and [H, d, n], without copies of y a point."""
    if out.is_cuda or out[0].numel() < 2**16:  # one large product and a copy, not P small ones
        product = torch.bmm(x.transpose(0, 1).flatten(1, 2), y)
        product = product.unflatten(1, (len(x), -1)).transpose(0, 1)
        out.add_(product) if add else out.copy_(product)
        return
    for p in range(len(x)):
        if add:
            out[p].baddbmm_(x[p], y)
        else:
            torch.bmm(x[p], y, out=out[p])


def _softmax_over_tokens(scores: Tensor, scale: Tensor | None) -> None:
    """Softmax of [P, H, T, pixels] over T, then divided by `scale` [P, pixels]; in place."""
    scores -= scores.amax(dim=2, keepdim=True)
    scores.exp_()
    total = scores.sum(dim=2, keepdim=True)
    scores *= (total if scale is None else total.mul_(scale[:, None, None])).reciprocal_()


def _scores(tokens: Tensor, projected: Projected, pixels: Pixels) -> Tensor:
    """Products of tokens [P, H, T, d] with the projected pixels at their positions.

    [P, H, T, pixels]: (s (E + C B) + c + position) W + bias, each term where it is cheapest.
    """
    scores = tokens.new_empty(*tokens.shape[:-1], projected.embedding.shape[-1])
    if pixels.scale is None:
        _per_head(tokens, projected.at_positions, scores)
        return scores
    _per_head(tokens, projected.embedding, scores)
    rows = scores.flatten(1, 2)
    for c, b in zip(pixels.mixtures, pixels.vectors, strict=True):
        seen = _heads(b @ projected.by.weight.T, tokens.shape[1])
        rows.baddbmm_((tokens @ seen.transpose(2, 3)).flatten(1, 2), c)
    rows *= pixels.scale[:, None]
    _per_head(tokens, projected.by.position, scores, add=True)
    return scores


def _attend(
    attention: Attention, terms: LayerTerms, queries: Tensor, prompt: Tensor, pixels: Pixels
) -> Tensor:
    """Token-to-image attention [P, T, D]: softmax over pixels, then the mean of their values."""
    heads, value = attention.num_heads, terms.value
    q = _heads(attention.q_proj(queries + prompt), heads)
    weights = _scores(q / math.sqrt(q.shape[-1]), terms.key, pixels)
    weights = torch.softmax(weights, dim=-1)
    if pixels.scale is not None:
        weights *= pixels.scale[:, None, None]
    found = torch.empty_like(q, memory_format=torch.contiguous_format)
    _per_head(weights, value.embedding.transpose(1, 2), found)
    for c, b in zip(pixels.mixtures, pixels.vectors, strict=True):
        mixed = (weights.flatten(1, 2) @ c.transpose(1, 2)).view(*q.shape[:3], -1)
        found += mixed @ _heads(b @ value.by.weight.T, heads)
    found += value.by.constant[:, None]
    return attention.out_proj(found.transpose(1, 2).flatten(2))


def _square(terms: LayerTerms, pixels: Pixels) -> Tensor:
    """|E + C B|^2 of every pixel [P, pixels], from E B^T and B B^T; E and B are without mean."""
    total = terms.square.expand(len(pixels.mixtures[0]), -1).clone()
    for i, (c, b) in enumerate(zip(pixels.mixtures, pixels.vectors, strict=True)):
        rows = torch.empty_like(c)
        coordinates = pixels.coordinates[i]
        _per_head(2 * coordinates, terms.overlaps[i], rows.view(*coordinates.shape[:3], -1))
        for j in range(i + 1):
            gram = b @ pixels.vectors[j].transpose(1, 2)
            rows.baddbmm_(gram, pixels.mixtures[j], alpha=1 if i == j else 2)
        total += rows.mul_(c).sum(dim=1)
    return total
