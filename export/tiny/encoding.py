"""The official image encoder for training, with its convolutions as matrix products.

The same sums as `segment_anything`'s `ImageEncoderViT`. On CPUs the gradient of a convolution in bf16 takes many times
that of the matrix product that it is. The blocks are the official ones: cutting their attention in pieces, as the
exported graph does, saves nothing where the gradient needs all of it.
"""

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from export.encoder import neck, patches


def encode(sam: Sam, image: Tensor, shown: Tensor) -> Tensor:
    """[B, 256, S/16, S/16] for [B, S, S, 3] in 0..255; normalised, then zero outside `shown` [B, 2]."""
    normal = (image.float() - sam.pixel_mean.view(3)) / sam.pixel_std.view(3)
    place = torch.arange(image.shape[1], device=image.device)
    inside = (place < shown[:, :1])[:, :, None] & (place < shown[:, 1:])[:, None]
    states = patches(sam.image_encoder, normal * inside[..., None]) + sam.image_encoder.pos_embed
    for block in sam.image_encoder.blocks:
        states = block(states)
    return neck(sam.image_encoder, states)
