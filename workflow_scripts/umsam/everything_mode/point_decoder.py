"""SAM's mask decoder for many points of one image: the same numbers with a fraction of the work.

segment_anything's decoder carries the image's pixels through every layer, once per point. Here the
pixels of a point are never computed. Before the first layer they are the same for all points. A
layer adds to each pixel a mixture of T x H vectors, one per token and head, and normalises the sum.
So after any layer the pixels of a point are

    keys = s (E + C B) + c

where E [D, pixels] is shared by all points, C [T H, pixels] is the attention of the pixels to the
tokens, B [T H, D] holds the vectors, s [pixels] is the scale of the norm and c [D] is a constant.
Attention needs only products with the pixels. They become products with E, computed once per image
in the few dimensions of a head, and products with C, which has T H = 56 rows instead of D = 256.
The variance in a norm is a quadratic form of the columns of C.

`PointDecoder` holds what depends on the weights, `ImageProducts` what depends on the image, and
`FactoredPixels` (`TritonPixels` on a GPU) the factors s, C and B of a batch of points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from umsam.everything_mode.factored_pixels import FactoredPixels, split_heads, subtract_mean
from umsam.everything_mode.image_products import (
    ImageProducts,
    LayerProducts,
    Projection,
    Upscaling,
)


@dataclass(frozen=True)
class DecodedPoints:
    """P points after the transformer, with M masks each.

    `predicted_iou` is [P, M]; `mask_tokens` [P, M, D] and `pixels` are what the masks are computed
    from.
    """

    predicted_iou: Tensor
    mask_tokens: Tensor
    pixels: FactoredPixels


class PointDecoder:
    """Decodes points of an image, and computes only the masks that are selected.

    Parameters
    ----------
    sam
        The model. The decoder works on its device, in float32.
    new_pixels
        Makes the pixels of a batch of points.
    """

    def __init__(self, sam: Sam, new_pixels: Callable[[], FactoredPixels] = FactoredPixels) -> None:
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
        self.bases = self._make_bases(norms)
        self.projections = [self._make_projections(i) for i in range(self.depth + 1)]
        convolution, norm, _, second, _ = decoder.output_upscaling
        first = convolution.weight.permute(0, 2, 3, 1).flatten(1)
        self.upscaling = Upscaling(
            first,
            self.constants[-1] @ first + convolution.bias.repeat(4),
            norm,
            second.weight.permute(0, 2, 3, 1).flatten(1),
            second.bias.repeat(4),
        )

    def _make_bases(self, norms: list[nn.LayerNorm]) -> list[list[Tensor]]:
        """Return, for the norm of each layer, the bases of all B so far: [H, d + 1, D], zero mean.

        A vector that image-to-token attention adds is a head's value times that head's part of the
        output projection, plus a constant. The weights of each head sum to one, so the constant is
        divided among the heads. It is the last row of the basis; its coordinate is one.
        """
        bases: list[list[Tensor]] = []
        earlier: list[Tensor] = []
        for i, (layer, norm) in enumerate(zip(self.transformer.layers, norms, strict=True)):
            attention = layer.cross_attn_image_to_token
            heads = attention.num_heads
            weight = attention.out_proj.weight.T.reshape(heads, -1, len(self.no_mask))
            constant = (attention.out_proj.bias + self.constants[i]) / heads
            new = torch.cat([weight, constant.expand(heads, 1, -1)], dim=1)
            bases.append([subtract_mean(basis) for basis in (*earlier, new)])
            earlier = [basis * norm.weight for basis in bases[-1]]
        return bases

    def _make_projections(self, i: int) -> list[Projection]:
        """Return the projections of the pixels before layer i.

        They are the keys, the values and, except after the last layer, the queries.
        """
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

    # ------------------------------------------------------------------ once per image

    def multiply_image(self, embedding: Tensor) -> ImageProducts:
        """Compute what all points share from the encoder's embedding [D, h, w]."""
        shared = embedding.flatten(1) + self.no_mask[:, None]
        layers = []
        for i in range(self.depth + 1):
            centred = subtract_mean(shared, dim=0) if i < self.depth else shared
            key, value, *query = (projection.apply(shared) for projection in self.projections[i])
            overlaps = [basis @ centred for basis in self.bases[i]] if i < self.depth else []
            norm = centred.square().sum(dim=0)
            layers.append(LayerProducts(key, value, query[0] if query else None, overlaps, norm))
            if i < self.depth:
                shared = centred * self.transformer.layers[i].norm4.weight[:, None]
        upscaled = shared.T @ self.upscaling.first
        height, width = embedding.shape[-2:]
        return ImageProducts(layers, upscaled, (height, width))

    # ------------------------------------------------------------------ once per batch of points

    def decode(self, image: ImageProducts, sparse: Tensor) -> DecodedPoints:
        """Run the transformer on points.

        Parameters
        ----------
        image
            The image's products.
        sparse
            The points' embeddings from SAM's prompt encoder, [P, N, D].
        """
        outputs = self.output_tokens.expand(len(sparse), -1, -1)
        prompt = torch.cat([outputs, sparse], dim=1)
        queries, pixels = prompt, self.new_pixels()
        for i, layer in enumerate(self.transformer.layers):
            products = image.layers[i]
            if layer.skip_first_layer_pe:
                queries = layer.self_attn(q=queries, k=queries, v=queries)
            else:
                q = queries + prompt
                queries = queries + layer.self_attn(q=q, k=q, v=queries)
            queries = layer.norm1(queries)
            attention = layer.cross_attn_token_to_image
            attended = self._attend(attention, products, queries, prompt, pixels)
            queries = layer.norm2(queries + attended)
            queries = layer.norm3(queries + layer.mlp(queries))
            self._update_pixels(i, products, queries, prompt, pixels)
        queries, prompt = self._select_output_tokens(queries), self._select_output_tokens(prompt)
        attention = self.transformer.final_attn_token_to_image
        attended = self._attend(attention, image.layers[-1], queries, prompt, pixels)
        queries = self.transformer.norm_final_attn(queries + attended)
        iou = self.decoder.iou_prediction_head(queries[:, 0])[:, 1:]
        return DecodedPoints(iou, queries[:, 1:], pixels)

    def _select_output_tokens(self, tokens: Tensor) -> Tensor:
        """Select the IoU token and the tokens of the multimask output from [P, T, D].

        The selection uses slices because a CUDA graph cannot record an index from the host.
        """
        return torch.cat([tokens[:, :1], tokens[:, 2 : 1 + self.decoder.num_mask_tokens]], dim=1)

    def _attend(
        self,
        attention: Attention,
        products: LayerProducts,
        queries: Tensor,
        prompt: Tensor,
        pixels: FactoredPixels,
    ) -> Tensor:
        """Apply token-to-image attention, [P, T, D]."""
        q = split_heads(attention.q_proj(queries + prompt), attention.num_heads)
        mean_values = pixels.attend(q / math.sqrt(q.shape[-1]), products)
        return attention.out_proj(mean_values.transpose(1, 2).flatten(2))

    def _update_pixels(
        self,
        i: int,
        products: LayerProducts,
        queries: Tensor,
        prompt: Tensor,
        pixels: FactoredPixels,
    ) -> None:
        """Apply image-to-token attention and the norm after it (norm4) to the pixels."""
        layer = self.transformer.layers[i]
        attention = layer.cross_attn_image_to_token
        keys = split_heads(attention.k_proj(queries + prompt), attention.num_heads)
        values = split_heads(attention.v_proj(queries), attention.num_heads)
        keys = keys / math.sqrt(keys.shape[-1])
        pixels.update(keys, values, self.bases[i][-1], products, layer.norm4)

    # ------------------------------------------------------------------ once per selected mask

    def compute_mask_logits(
        self, image: ImageProducts, decoded: DecodedPoints, selection: Tensor
    ) -> Tensor:
        """Compute masks of decoded points with the output upscaling and the hypernetworks.

        Parameters
        ----------
        image
            The image's products.
        decoded
            The points.
        selection
            Which masks of each point to compute, bool [P, M].

        Returns
        -------
        Tensor
            [N, 4 h, 4 w], in the order of `selection`.
        """
        tokens = decoded.mask_tokens
        networks = self.decoder.output_hypernetworks_mlps[1:]
        hyper = torch.stack([mlp(tokens[:, m]) for m, mlp in enumerate(networks)], dim=1)
        return decoded.pixels.compute_mask_logits(image, self.upscaling, hyper, selection)
