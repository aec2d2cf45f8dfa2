"""The image's pixels as the decoder of points carries them: factors, for a batch of points.

After any layer the pixels of a point are keys = s (E + C B) + c; see `point_decoder.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umsam.pseudo_labels.image_terms import ImageTerms, LayerTerms, Projected, Upscaling


class Pixels:
    """keys = s (E + sum over layers of C B) + c, for P points.

    One entry a layer passed: `mixtures` C [P, H T, pixels], `vectors` B [P, H T, D] and the
    coordinates of B in the layer's basis, `coordinates` [P, H, T, d + 1]. `scale` is s
    [P, pixels], None for 1 before the first layer.
    """

    def __init__(self) -> None:
        self.mixtures: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.coordinates: list[Tensor] = []
        self.scale: Tensor | None = None

    def attend(self, queries: Tensor, terms: LayerTerms) -> Tensor:
        """Attention of queries [P, H, T, d] to the pixels: softmax, then the mean of their values.

        The queries are divided by the root of d already; returns [P, H, T, d].
        """
        value = terms.value
        weights = torch.softmax(_scores(queries, terms.key, self), dim=-1)
        if self.scale is not None:
            weights *= self.scale[:, None, None]
        found = torch.empty_like(queries, memory_format=torch.contiguous_format)
        _per_head(weights, value.embedding.transpose(1, 2), found)
        for c, b in zip(self.mixtures, self.vectors, strict=True):
            mixed = (weights.flatten(1, 2) @ c.transpose(1, 2)).view(*queries.shape[:3], -1)
            found += mixed @ heads(b @ value.by.weight.T, queries.shape[1])
        return found.add_(value.by.constant[:, None])

    def update(
        self, keys: Tensor, values: Tensor, basis: Tensor, terms: LayerTerms, norm: nn.LayerNorm
    ) -> None:
        """The pixels attend to the tokens; the sum is normalised.

        Parameters
        ----------
        keys, values
            Of the tokens, [P, H, T, d]; the keys are divided by the root of d already.
        basis
            Of the vectors that are added, without mean, [H, d + 1, D].
        """
        mixture = _scores(keys, terms.query, self)
        _softmax_over_tokens(mixture, self.scale)
        self.mixtures.append(mixture.flatten(1, 2))
        self.add_vectors(values, basis)
        variance = _square(terms, self) / len(norm.weight)
        if self.scale is None:
            self.scale = (variance + norm.eps).rsqrt()
        else:
            self.scale = self.scale * (variance * self.scale.square() + norm.eps).rsqrt()
        self.vectors = [b * norm.weight for b in self.vectors]

    def add_vectors(self, values: Tensor, basis: Tensor) -> None:
        """A layer's vectors from the tokens' values; then none has a mean."""
        self.coordinates.append(F.pad(values, (0, 1), value=1.0))
        new = self.coordinates[-1] @ basis
        self.vectors = [*map(without_mean, self.vectors), new.flatten(1, 2)]

    def mask_logits(
        self, image: ImageTerms, upscaling: Upscaling, hyper: Tensor, wanted: Tensor
    ) -> Tensor:
        """The output upscaling, and its products with the vectors of the masks.

        Parameters
        ----------
        hyper
            A vector a mask, [P, M, outputs].
        wanted
            Which masks of each point, bool [P, M]; points that want none cost nothing.

        Returns
        -------
        Tensor
            [N, 4 h, 4 w], in the order of `wanted`.
        """
        points = wanted.any(dim=1).nonzero()[:, 0]
        hyper, wanted = hyper[points], wanted[points]
        mixtures, scale = [c[points] for c in self.mixtures], self.scale[points]
        h, w = image.size
        masks = hyper.new_empty(int(wanted.sum()), 16 * h * w)
        at_once, rows = _block(hyper.device, len(points), h * w, 16 * upscaling.outputs)
        first = 0
        for start in range(0, len(points), at_once):
            some = slice(start, start + at_once)
            chosen = wanted[some]
            last = first + int(chosen.sum())
            vectors = [b[points[some]] @ upscaling.first for b in self.vectors]
            for row in range(0, h * w, rows):
                at = slice(row, row + rows)
                parts = [c[some, :, at] for c in mixtures]
                x = _upscaled(image.upscaled[at], upscaling, parts, vectors, scale[some, at])
                if len(x) == 1:
                    products = hyper[start, chosen[0]] @ x[0].T
                else:
                    products = (hyper[some] @ x.transpose(1, 2))[chosen]
                masks[first:last, 16 * row : 16 * (row + rows)] = products
            first = last
        return masks.index_select(1, _shuffled(h, w, masks.device)).view(-1, 4 * h, 4 * w)


def _upscaled(
    image: Tensor,
    upscaling: Upscaling,
    mixtures: list[Tensor],
    vectors: list[Tensor],
    scale: Tensor,
) -> Tensor:
    """Some points and pixels through the output upscaling: [P, 16 pixels, outputs]."""
    x = torch.addcmul(upscaling.constant, scale[:, :, None], image)
    for c, b in zip(mixtures, vectors, strict=True):
        x.baddbmm_((c * scale[:, None]).transpose(1, 2), b)
    norm = upscaling.norm
    x = x.view(-1, upscaling.channels)
    x = F.layer_norm(x, x.shape[1:], norm.weight, norm.bias, norm.eps)
    x = (F.gelu(x) @ upscaling.second).add_(upscaling.second_bias)
    return F.gelu(x).view(len(scale), -1, upscaling.outputs)


def _block(device: torch.device, points: int, pixels: int, width: int) -> tuple[int, int]:
    """Points and pixels to take at a time, so that `width` floats a pixel stay in the cache."""
    floats = 2**19 if device.type == "cpu" else 2**27
    rows = max(1, min(pixels, floats // width))
    return max(1, min(points, floats // (width * rows))), rows


def _shuffled(h: int, w: int, device: torch.device) -> Tensor:
    """Where the cells of [4 h, 4 w] lie in the order that two 2 x 2 upscalings leave."""
    cells = torch.arange(16 * h * w, device=device).view(h, w, 2, 2, 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten()


def without_mean(x: Tensor, dim: int = -1) -> Tensor:
    """Without its mean."""
    return x - x.mean(dim=dim, keepdim=True)


def heads(x: Tensor, count: int) -> Tensor:
    """[P, T, H d] as [P, H, T, d]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


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
        seen = heads(b @ projected.by.weight.T, tokens.shape[1])
        rows.baddbmm_((tokens @ seen.transpose(2, 3)).flatten(1, 2), c)
    rows *= pixels.scale[:, None]
    _per_head(tokens, projected.by.position, scores, add=True)
    return scores


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
