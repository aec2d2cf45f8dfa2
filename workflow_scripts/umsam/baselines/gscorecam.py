"""gScoreCAM: where a vision transformer sees what a score is about.

Chen et al., "gScoreCAM: what objects is CLIP looking at?", 2022. Each channel of the last layer's
feature map is a candidate mask of the image; the channels that matter most by gradient are scored
by what is left of the image under them, and the map is the sum of the channels by their scores.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


def gscorecam(
    score: Callable[[Tensor], Tensor],
    layer: nn.Module,
    prefix_tokens: int,
    image: Tensor,
    channels: int,
    batch_size: int,
) -> Tensor:
    """Saliency map of one image, in [0, 1]; all zero where the score knows no place.

    Parameters
    ----------
    score
        Images [B, 3, S, S] -> one number each, [B]; runs through `layer`.
    layer
        Gives the tokens [B, prefix_tokens + h * h, D] of square images.
    image
        [1, 3, S, S], as the network wants it.
    channels
        How many of the D channels are scored (300 in the paper): those of the largest gradient.

    Returns
    -------
    [h, h].
    """
    tokens, gradients = _tokens_and_gradients(score, layer, image)
    side = round((tokens.shape[1] - prefix_tokens) ** 0.5)
    maps = tokens[0, prefix_tokens:].T.unflatten(1, (side, side))
    # Over all tokens: what follows the last attention reads the class token alone, so that in the
    # last layer the gradient of every other token is zero.
    chosen = gradients[0].mean(dim=0).topk(min(channels, len(maps))).indices
    scores = maps.new_zeros(len(maps))
    scores[chosen] = _scores_under(score, image, maps[chosen], batch_size)
    weights = scores.softmax(dim=0)
    return _to_unit_range((weights[:, None, None] * maps).sum(dim=0).clamp(min=0))


def _tokens_and_gradients(
    score: Callable[[Tensor], Tensor], layer: nn.Module, image: Tensor
) -> tuple[Tensor, Tensor]:
    kept: list[Tensor] = []

    def start_graph(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # nothing before the layer needs a gradient
        return kept[0]

    hook = layer.register_forward_hook(start_graph)
    try:
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(score(image).sum(), kept[0])
    finally:
        hook.remove()
    return kept[0].detach(), gradients


@torch.no_grad()
def _scores_under(
    score: Callable[[Tensor], Tensor], image: Tensor, maps: Tensor, batch_size: int
) -> Tensor:
    """Score of the image under each of the masks [K, h, h]."""
    scores = []
    for batch in maps.split(batch_size):
        masks = F.interpolate(batch[:, None], size=image.shape[-2:], mode="bilinear")
        scores.append(score(image * _to_unit_range(masks)))
    return torch.cat(scores)


def _to_unit_range(maps: Tensor) -> Tensor:
    """Each map's own smallest value becomes 0 and its largest 1; a constant map becomes 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=EPS)
