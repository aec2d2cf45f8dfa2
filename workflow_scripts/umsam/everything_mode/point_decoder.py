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
image, `Pixels` the factors above for a batch of points; `FusedPixels` is the same for a GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from umsam.everything_mode.image_terms import ImageTerms, LayerTerms, Projection, Upscaling
from umsam.everything_mode.pixels import Pixels, heads, without_mean


@dataclass(frozen=True)
class Decoded:
    """Points after the transformer: predicted IoU [P, M] of their masks, and what masks need."""

    predicted_iou: Tensor
    mask_tokens: Tensor
    pixels: Pixels


class PointDecoder:
    """Decodes points of an image with the weights of a `Sam`; masks only where they are asked for.

    Works on the model's own device, in float32.
    """

    def __init__(self, sam: Sam, new_pixels: Callable[[], Pixels] = Pixels) -> None:
        self.new_pixels = new_pixels
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
        convolution, norm, _, second, _ = decoder.output_upscaling
        first = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        self.upscaling = Upscaling(
            first,
            self.constants[-1] @ first + convolution.bias.repeat(4),
            norm,
            second.weight.permute(0, 2, 3, 1).flatten(1),
            second.bias.repeat(4),
        )

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
            bases.append([without_mean(basis) for basis in (*earlier, new)])
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
            centred = without_mean(shared, dim=0) if i < self.depth else shared
            key, value, *query = (each.of(shared) for each in self.projections[i])
            overlaps = [basis @ centred for basis in self.bases[i]] if i < self.depth else []
            square = centred.square().sum(dim=0)
            layers.append(LayerTerms(key, value, query[0] if query else None, overlaps, square))
            if i < self.depth:
                shared = centred * self.transformer.layers[i].norm4.weight[:, None]
        upscaled = shared.T @ self.upscaling.first
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
        queries, pixels = prompt, self.new_pixels()
        for i, layer in enumerate(self.transformer.layers):
            terms = image.layers[i]
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                q = queries + prompt
                queries = queries + layer.self_attn(q=q, k=q, v=queries)
            queries = layer.norm1(queries)
            attention = layer.cross_attn_token_to_image
            queries = layer.norm2(queries + self._attend(attention, terms, queries, prompt, pixels))
            queries = layer.norm3(queries + layer.mlp(queries))
            self._update(i, terms, queries, prompt, pixels)
        queries, prompt = (self._answers(each) for each in (queries, prompt))
        attention = self.transformer.final_attn_token_to_image
        found = self._attend(attention, image.layers[-1], queries, prompt, pixels)
        queries = self.transformer.norm_final_attn(queries + found)
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        return Decoded(iou, queries[:, 1:], pixels)

    def _answers(self, tokens: Tensor) -> Tensor:
        """Of [P, T, D] the token of the IoUs, and those of the masks but the single one.

        By slices: an index from the host is not let into a GPU's recording.
        """
        return torch.cat([tokens[:, :1], tokens[:, 2 : 1 + self.decoder.num_mask_tokens]], dim=1)

    def _attend(
        self,
        attention: Attention,
        terms: LayerTerms,
        queries: Tensor,
        prompt: Tensor,
        pixels: Pixels,
    ) -> Tensor:
        """Token-to-image attention [P, T, D]."""
        q = heads(attention.q_proj(queries + prompt), attention.num_heads)
        found = pixels.attend(q / math.sqrt(q.shape[-1]), terms)
        return attention.out_proj(found.transpose(1, 2).flatten(2))

    def _update(
        self, i: int, terms: LayerTerms, queries: Tensor, prompt: Tensor, pixels: Pixels
    ) -> None:
        """Image-to-token attention, and the norm of the pixels after it (norm4)."""
        layer = self.transformer.layers[i]
        attention = layer.cross_attn_image_to_token
        keys = heads(attention.k_proj(queries + prompt), attention.num_heads)
        values = heads(attention.v_proj(queries), attention.num_heads)
        keys = keys / math.sqrt(keys.shape[-1])
        pixels.update(keys, values, self.bases[i][-1], terms, layer.norm4)

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
        return decoded.pixels.mask_logits(image, self.upscaling, hyper, wanted)
