"""The image's pixels as the decoder of points carries them: factors, for a batch of points.

After any layer the pixels of a point are keys = s (E + C B) + c; see `point_decoder.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umsam.everything_mode.image_terms import ImageTerms, LayerTerms, Projected, Upscaling

AT_ONCE = 1024  # pixels on a CPU: of a few points they fit its cache


class Pixels:
    """keys = s (E + sum over layers of C B) + c, for P points.

    Pixels are taken a part at a time, each a slice of them. One entry a layer passed: `mixtures` C,
    of each part [P, H T, pixels], `vectors` B [P, H T, D], and the coordinates of B in the layer's
    basis, `coordinates` [P, H, T, d + 1]. `scales` is s of each part [P, pixels], None for 1 before
    the first layer.
    """

    def __init__(self) -> None:
        self.mixtures: list[list[Tensor]] = []
        self.vectors: list[Tensor] = []
        self.coordinates: list[Tensor] = []
        self.scales: list[Tensor] | None = None

    def attend(self, queries: Tensor, terms: LayerTerms) -> Tensor:
        """Attention of queries [P, H, T, d] to the pixels: softmax, then the mean of their values.

        The queries are divided by the root of d already; returns [P, H, T, d].
        """
        seen, values = self._seen(queries, terms.key), self._through(terms.value)
        found, totals = [], []
        for k, part in enumerate(_parts(terms.square)):
            scores = self._scores(queries, seen, terms.key, k, part)
            weights = torch.softmax(scores, dim=-1)
            # The logarithm of what the softmax divides by: no weight is far above the largest.
            totals.append(scores.amax(dim=-1) - weights.amax(dim=-1).log())
            if self.scales is not None:
                weights *= self.scales[k][:, None, None]
            mean = _per_head(weights, terms.value.embedding[..., part].mT)
            for c, v in zip(self.mixtures, values, strict=True):
                mean = mean + (weights.flatten(1, 2) @ c[k].mT).unflatten(1, queries.shape[1:3]) @ v
            found.append(mean)
        shares = torch.softmax(torch.stack(totals), dim=0)[..., None]
        return terms.value.by.constant[:, None] + (shares * torch.stack(found)).sum(dim=0)

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
        seen = self._seen(keys, terms.query)
        self.add_vectors(values, basis)
        grams = self._grams()
        self.mixtures.append([])
        scales = []
        for k, part in enumerate(_parts(terms.square)):
            mixture = torch.softmax(self._scores(keys, seen, terms.query, k, part), dim=2)
            scale = None if self.scales is None else self.scales[k]
            if scale is not None:
                mixture /= scale[:, None, None]
            self.mixtures[-1].append(mixture.flatten(1, 2))
            variance = self._square(grams, terms, k, part) / len(norm.weight)
            if scale is None:
                scales.append((variance + norm.eps).rsqrt())
            else:
                scales.append(scale * (variance * scale.square() + norm.eps).rsqrt())
        self.scales = scales
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
        vectors = [b[points] @ upscaling.first for b in self.vectors]
        h, w = image.size
        masks = hyper.new_empty(int(wanted.sum()), 16 * h * w)
        at_once = _points_at_once(hyper.device, 16 * upscaling.outputs * h * w)
        for k, part in enumerate(_parts(image.upscaled)):
            first, places = 0, slice(16 * part.start, 16 * part.stop)
            for some in torch.arange(len(points), device=points.device).split(at_once):
                here, chosen = points[some], wanted[some]
                x = _upscaled(
                    image.upscaled[part], upscaling, [c[k][here] for c in self.mixtures],
                    [b[some] for b in vectors], self.scales[k][here],
                )  # fmt: skip
                if at_once == 1:
                    products = hyper[some][chosen] @ x[0].T
                else:
                    products = (hyper[some] @ x.mT)[chosen]
                masks[first : first + len(products), places] = products
                first += len(products)
        return masks.index_select(1, _shuffled(h, w, masks.device)).view(-1, 4 * h, 4 * w)

    def _through(self, projected: Projected) -> list[Tensor]:
        """The vectors of each layer through a projection, [P, H, H T, d]."""
        return [heads(b @ projected.by.weight.T, len(projected.embedding)) for b in self.vectors]

    def _seen(self, tokens: Tensor, projected: Projected) -> list[Tensor]:
        """Products of tokens [P, H, T, d] with the vectors of each layer, [P, H T, H T]."""
        return [(tokens @ v.mT).flatten(1, 2) for v in self._through(projected)]

    def _grams(self) -> list[list[Tensor]]:
        """Products of the vectors of each layer with those of it and of earlier ones."""
        return [
            [b @ other.mT for other in self.vectors[: i + 1]] for i, b in enumerate(self.vectors)
        ]

    def _scores(
        self, tokens: Tensor, seen: list[Tensor], projected: Projected, k: int, part: slice
    ) -> Tensor:
        """Products of tokens [P, H, T, d] with projected pixels of part k at their positions.

        [P, H, T, pixels]: (s (E + C B) + c + position) W + bias, each term where it is cheapest.
        """
        if self.scales is None:
            return _per_head(tokens, projected.at_positions[..., part]).contiguous()
        scores = _per_head(tokens, projected.embedding[..., part]).contiguous()
        for layer, s in enumerate(seen):
            scores.flatten(1, 2).baddbmm_(s, self.mixtures[layer][k])
        at_positions = _per_head(tokens, projected.by.position[..., part])
        return torch.addcmul(at_positions, scores, self.scales[k][:, None, None], out=scores)

    def _square(self, grams: list[list[Tensor]], terms: LayerTerms, k: int, part: slice) -> Tensor:
        """|E + C B|^2 of the pixels of part k, from E B^T and B B^T; E and B are without mean."""
        total = terms.square[part]
        for i, coordinates in enumerate(self.coordinates):
            rows = _per_head(2 * coordinates, terms.overlaps[i][..., part]).flatten(1, 2)
            for j, gram in enumerate(grams[i]):
                rows.baddbmm_(gram, self.mixtures[j][k], alpha=1 if i == j else 2)
            total = total + rows.mul_(self.mixtures[i][k]).sum(dim=1)
        return total


def _parts(pixels: Tensor) -> list[slice]:
    """Slices of the first dimension; all of it on a GPU, where one large step is the fastest."""
    n = len(pixels)
    step = AT_ONCE if pixels.device.type == "cpu" else n
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _points_at_once(device: torch.device, floats: int) -> int:
    """Points of so many floats to upscale at a time."""
    return 1 if device.type == "cpu" else max(1, 2**27 // floats)


def _upscaled(
    image: Tensor,
    upscaling: Upscaling,
    mixtures: list[Tensor],
    vectors: list[Tensor],
    scale: Tensor,
) -> Tensor:
    """Some pixels of some points through the output upscaling: [P, 16 pixels, outputs]."""
    x = torch.addcmul(upscaling.constant, scale[:, :, None], image)
    for c, b in zip(mixtures, vectors, strict=True):
        x.baddbmm_((c * scale[:, None]).mT, b)
    norm = upscaling.norm
    x = x.view(-1, upscaling.channels)
    x = F.gelu(F.layer_norm(x, x.shape[1:], norm.weight, norm.bias, norm.eps))
    x = F.gelu(torch.addmm(upscaling.second_bias, x, upscaling.second))
    return x.view(len(scale), -1, upscaling.outputs)


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


def _per_head(x: Tensor, y: Tensor) -> Tensor:
    """x y: [P, H, T, n] from [P, H, T, d] and [H, d, n], as one product a head for all points."""
    product = torch.bmm(x.transpose(0, 1).flatten(1, 2), y)
    return product.unflatten(1, (len(x), -1)).transpose(0, 1)
