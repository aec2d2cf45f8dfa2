"""SAM's everything mode (eq. 1-2): all class-agnostic masks of a volume and SAM's embeddings.

Reading order:

1. `volume_loop`: runs a generator on every slice of a volume and writes its masks and embeddings.
2. `reference_generator`: Meta's own mask generator, the reference for the fast one.
3. `fast_generator`: returns the same masks in the same order with less work.
4. `mask_candidates`: the masks of the fast generator on the device, packed as bits.
5. `mask_resize`: resizes mask logits from the decoder's grid to the slice in one step.
6. `image_encoder`: Meta's image encoder with a faster attention.
7. `point_decoder`: SAM's mask decoder for many points of one image; derives the factorisation.
8. `image_products`: the decoder's weights, and their products with an image's embedding.
9. `factored_pixels`: the pixels of a batch of points as factors, in PyTorch.
10. `triton_pixels`: the same factors on a GPU, with half the memory traffic.
11. `triton_kernels`: the Triton kernels of `triton_pixels`.
12. `cuda_graphs`: records a function's GPU work once and replays it.
"""
