"""The pixels of a batch of points as factors: keys = s (E + C B) + c.

`point_decoder` derives the factorisation. This module attends to the pixels, updates their factors
after a layer and computes mask logits from them, all without forming the pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umsam.everything_mode.image_products import (
    ImageProducts,
    LayerProducts,
    ProjectedImage,
    Upscaling,
)

PIXELS_PER_PART = 1024  # on a CPU: the arrays of a few points then fit its cache


class FactoredPixels:
    """keys = s (E + sum over layers of C B) + c, for P points.

    The pixels are processed in parts, each a slice of them.

    Attributes
    ----------
    mixtures
        C of each past layer and part, [P, H T, pixels].
    vectors
        B of each past layer, [P, H T, D].
    coordinates
        B of each past layer in the layer's basis, [P, H, T, d + 1].
    scales
        s of each part, [P, pixels]; None, meaning 1, before the first layer.
    """

    def __init__(self) -> None:
        self.mixtures: list[list[Tensor]] = []
        self.vectors: list[Tensor] = []
        self.coordinates: list[Tensor] = []
        self.scales: list[Tensor] | None = None

    def attend(self, queries: Tensor, products: LayerProducts) -> Tensor:
        """Attend to the pixels: a softmax of the scores, then the weighted mean of the values.

        Parameters
        ----------
        queries
            [P, H, T, d], already divided by the root of d.
        products
            The image's products for this layer.

        Returns
        -------
        Tensor
            [P, H, T, d].
        """
        vector_scores = self._multiply_vectors(queries, products.key)
        vector_values = self._project_vectors(products.value)
        means, totals = [], []
        for k, part in enumerate(_split_pixels(products.squared_norm)):
            scores = self._scores(queries, vector_scores, products.key, k, part)
            weights = torch.softmax(scores, dim=-1)
            # The logarithm of the softmax's denominator. No weight far exceeds the largest one.
            totals.append(scores.amax(dim=-1) - weights.amax(dim=-1).log())
            if self.scales is not None:
                weights *= self.scales[k][:, None, None]
            mean = _multiply_per_head(weights, products.value.embedding[..., part].mT)
            for c, v in zip(self.mixtures, vector_values, strict=True):
                mean = mean + (weights.flatten(1, 2) @ c[k].mT).unflatten(1, queries.shape[1:3]) @ v
            means.append(mean)
        shares = torch.softmax(torch.stack(totals), dim=0)[..., None]
        constant = products.value.projection.constant
        return constant[:, None] + (shares * torch.stack(means)).sum(dim=0)

    def update(
        self,
        keys: Tensor,
        values: Tensor,
        basis: Tensor,
        products: LayerProducts,
        norm: nn.LayerNorm,
    ) -> None:
        """Let the pixels attend to the tokens, and normalise the sum.

        Parameters
        ----------
        keys, values
            Of the tokens, [P, H, T, d]; the keys are already divided by the root of d.
        basis
            Basis of the added vectors, with zero mean, [H, d + 1, D].
        products
            The image's products for this layer.
        norm
            The norm after the attention.
        """
        query = products.query
        assert query is not None  # only the products after the last layer have none
        vector_scores = self._multiply_vectors(keys, query)
        self.add_vectors(values, basis)
        grams = self._gram_matrices()
        self.mixtures.append([])
        scales = []
        for k, part in enumerate(_split_pixels(products.squared_norm)):
            mixture = torch.softmax(self._scores(keys, vector_scores, query, k, part), dim=2)
            scale = None if self.scales is None else self.scales[k]
            if scale is not None:
                mixture /= scale[:, None, None]
            self.mixtures[-1].append(mixture.flatten(1, 2))
            variance = self._squared_norm(grams, products, k, part) / len(norm.weight)
            if scale is None:
                scales.append((variance + norm.eps).rsqrt())
            else:
                scales.append(scale * (variance * scale.square() + norm.eps).rsqrt())
        self.scales = scales
        self.vectors = [b * norm.weight for b in self.vectors]

    def add_vectors(self, values: Tensor, basis: Tensor) -> None:
        """Append a layer's vectors, computed from the tokens' values; all vectors get zero mean."""
        self.coordinates.append(F.pad(values, (0, 1), value=1.0))
        new = self.coordinates[-1] @ basis
        self.vectors = [*map(subtract_mean, self.vectors), new.flatten(1, 2)]

    def compute_mask_logits(
        self, image: ImageProducts, upscaling: Upscaling, hyper: Tensor, selection: Tensor
    ) -> Tensor:
        """Upscale the pixels and multiply them by the masks' vectors.

        Parameters
        ----------
        image
            The image's products.
        upscaling
            The weights of the output upscaling.
        hyper
            One vector per mask from the hypernetworks, [P, M, outputs].
        selection
            Which masks of each point to compute, bool [P, M]; a point without any costs nothing.

        Returns
        -------
        Tensor
            [N, 4 h, 4 w], in the order of `selection`.
        """
        assert self.scales is not None
        points = selection.any(dim=1).nonzero()[:, 0]
        hyper, selection = hyper[points], selection[points]
        vectors = [b[points] @ upscaling.first for b in self.vectors]
        h, w = image.size
        masks = hyper.new_empty(int(selection.sum()), 16 * h * w)
        step = _points_per_step(hyper.device, 16 * upscaling.outputs * h * w)
        for k, part in enumerate(_split_pixels(image.upscaled)):
            first, cells = 0, slice(16 * part.start, 16 * part.stop)
            for batch in torch.arange(len(points), device=points.device).split(step):
                batch_points, batch_selection = points[batch], selection[batch]
                x = _upscale(
                    image.upscaled[part], upscaling, [c[k][batch_points] for c in self.mixtures],
                    [b[batch] for b in vectors], self.scales[k][batch_points],
                )  # fmt: skip
                if step == 1:
                    logits = hyper[batch][batch_selection] @ x[0].T
                else:
                    logits = (hyper[batch] @ x.mT)[batch_selection]
                masks[first : first + len(logits), cells] = logits
                first += len(logits)
        return masks.index_select(1, _cell_order(h, w, masks.device)).view(-1, 4 * h, 4 * w)

    def _project_vectors(self, projected: ProjectedImage) -> list[Tensor]:
        """Project the vectors of each layer, [P, H, H T, d]."""
        weight, heads = projected.projection.weight, len(projected.embedding)
        return [split_heads(b @ weight.T, heads) for b in self.vectors]

    def _multiply_vectors(self, tokens: Tensor, projected: ProjectedImage) -> list[Tensor]:
        """Multiply tokens [P, H, T, d] by the projected vectors of each layer, [P, H T, H T]."""
        return [(tokens @ v.mT).flatten(1, 2) for v in self._project_vectors(projected)]

    def _gram_matrices(self) -> list[list[Tensor]]:
        """Multiply the vectors of each layer by those of the same and of earlier layers."""
        return [
            [b @ other.mT for other in self.vectors[: i + 1]] for i, b in enumerate(self.vectors)
        ]

    def _scores(
        self,
        tokens: Tensor,
        vector_scores: list[Tensor],
        projected: ProjectedImage,
        k: int,
        part: slice,
    ) -> Tensor:
        """Multiply tokens [P, H, T, d] by the projected pixels of part k, [P, H, T, pixels].

        The projected pixels are (s (E + C B) + c + position) W + bias; each term is computed where
        it is cheapest.
        """
        if self.scales is None:
            return _multiply_per_head(tokens, projected.at_positions[..., part]).contiguous()
        scores = _multiply_per_head(tokens, projected.embedding[..., part]).contiguous()
        for layer, s in enumerate(vector_scores):
            scores.flatten(1, 2).baddbmm_(s, self.mixtures[layer][k])
        at_positions = _multiply_per_head(tokens, projected.projection.position[..., part])
        return torch.addcmul(at_positions, scores, self.scales[k][:, None, None], out=scores)

    def _squared_norm(
        self, grams: list[list[Tensor]], products: LayerProducts, k: int, part: slice
    ) -> Tensor:
        """Return |E + C B|^2 of the pixels of part k, from E B^T and B B^T.

        E and B must have zero mean.
        """
        total = products.squared_norm[part]
        for i, coordinates in enumerate(self.coordinates):
            overlap = products.overlaps[i][..., part]
            rows = _multiply_per_head(2 * coordinates, overlap).flatten(1, 2)
            for j, gram in enumerate(grams[i]):
                rows.baddbmm_(gram, self.mixtures[j][k], alpha=1 if i == j else 2)
            total = total + rows.mul_(self.mixtures[i][k]).sum(dim=1)
        return total


def _split_pixels(pixels: Tensor) -> list[slice]:
    """Split the first dimension into parts; a GPU is fastest with a single part."""
    n = len(pixels)
    step = PIXELS_PER_PART if pixels.device.type == "cpu" else n
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _points_per_step(device: torch.device, floats: int) -> int:
    """Return how many points to upscale at once if each takes so many floats."""
    return 1 if device.type == "cpu" else max(1, 2**27 // floats)


def _upscale(
    image: Tensor,
    upscaling: Upscaling,
    mixtures: list[Tensor],
    vectors: list[Tensor],
    scale: Tensor,
) -> Tensor:
    """Apply the output upscaling to some pixels of P points, [P, 16 pixels, outputs]."""
    x = torch.addcmul(upscaling.constant, scale[:, :, None], image)
    for c, b in zip(mixtures, vectors, strict=True):
        x.baddbmm_((c * scale[:, None]).mT, b)
    norm = upscaling.norm
    x = x.view(-1, upscaling.channels)
    x = F.gelu(F.layer_norm(x, x.shape[1:], norm.weight, norm.bias, norm.eps))
    x = F.gelu(torch.addmm(upscaling.second_bias, x, upscaling.second))
    return x.view(len(scale), -1, upscaling.outputs)


def _cell_order(h: int, w: int, device: torch.device) -> Tensor:
    """Return, for each cell of [4 h, 4 w], its index in the order of two 2 x 2 upscalings."""
    cells = torch.arange(16 * h * w, device=device).view(h, w, 2, 2, 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten()


def subtract_mean(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract the mean along one dimension."""
    return x - x.mean(dim=dim, keepdim=True)


def split_heads(x: Tensor, count: int) -> Tensor:
    """View [P, T, H d] as [P, H, T, d]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def _multiply_per_head(x: Tensor, y: Tensor) -> Tensor:
    """Multiply [P, H, T, d] by [H, d, n], with one product per head for all points."""
    product = torch.bmm(x.transpose(0, 1).flatten(1, 2), y)
    return product.unflatten(1, (len(x), -1)).transpose(0, 1)
