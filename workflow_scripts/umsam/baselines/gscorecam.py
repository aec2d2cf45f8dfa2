"""gScoreCAM: a saliency map of a score of a vision transformer.

Chen et al., "gScoreCAM: what objects is CLIP looking at?", 2022. Each channel of the last layer's
feature map is a mask of the image. The channels with the largest gradients are weighted by the
score of the masked image, and the saliency map is the weighted sum of the channels.
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
    """Saliency map of one image in [0, 1]; zero everywhere if no place matters for the score.

    Parameters
    ----------
    score
        Maps images [B, 3, S, S] to scores [B]; uses `layer`.
    layer
        Returns the tokens [B, prefix_tokens + h * h, D] of square images.
    prefix_tokens
        Number of tokens that are not patches, such as the class token.
    image
        [1, 3, S, S], the input of the network.
    channels
        Number of channels that are scored, those with the largest gradients (300 in the paper).
    batch_size
        Masked images per forward pass.

    Returns
    -------
    [h, h].
    """
    tokens, gradients = _tokens_and_gradients(score, layer, image)
    side = round((tokens.shape[1] - prefix_tokens) ** 0.5)
    maps = tokens[0, prefix_tokens:].T.unflatten(1, (side, side))
    # Mean over all tokens: after the last attention only the class token is read, so the gradients
    # of all other tokens are zero in the last layer.
    largest = gradients[0].mean(dim=0).topk(min(channels, len(maps))).indices
    scores = maps.new_zeros(len(maps))
    scores[largest] = _masked_scores(score, image, maps[largest], batch_size)
    weights = scores.softmax(dim=0)
    return _to_unit_range((weights[:, None, None] * maps).sum(dim=0).clamp(min=0))


def _tokens_and_gradients(
    score: Callable[[Tensor], Tensor], layer: nn.Module, image: Tensor
) -> tuple[Tensor, Tensor]:
    """The output of a layer for an image, and the gradient of the score with respect to it."""
    tokens: list[Tensor] = []

    def start_graph(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        tokens.append(output.detach().requires_grad_())  # earlier layers need no gradient
        return tokens[0]

    hook = layer.register_forward_hook(start_graph)
    try:
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(score(image).sum(), tokens[0])
    finally:
        hook.remove()
    return tokens[0].detach(), gradients


@torch.no_grad()
def _masked_scores(
    score: Callable[[Tensor], Tensor], image: Tensor, maps: Tensor, batch_size: int
) -> Tensor:
    """Scores [K] of the image under each of the masks [K, h, h]."""
    scores = []
    for batch in maps.split(batch_size):
        masks = F.interpolate(batch[:, None], size=image.shape[-2:], mode="bilinear")
        scores.append(score(image * _to_unit_range(masks)))
    return torch.cat(scores)


def _to_unit_range(maps: Tensor) -> Tensor:
    """Scale each map so that its minimum is 0 and its maximum 1; a constant map becomes 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=EPS)
