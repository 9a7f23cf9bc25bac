"""The official image encoder with its convolutions as matrix products.

The same sums as `segment_anything`'s `ImageEncoderViT`. On CPUs the gradient of a convolution in
bf16 takes many times that of the matrix product that it is: patches do not overlap, and the
neck's 3 x 3 window is nine shifted copies side by side.
"""

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor
from torch.nn import functional


def encode(sam: Sam, image: Tensor, shown: Tensor) -> Tensor:
    """[B, 256, S/16, S/16] for [B, S, S, 3] in 0..255; normalised, then zero outside `shown` [B, 2]."""
    normal = (image.float() - sam.pixel_mean.view(3)) / sam.pixel_std.view(3)
    place = torch.arange(image.shape[1], device=image.device)
    inside = (place < shown[:, :1])[:, :, None] & (place < shown[:, 1:])[:, None]
    return _embed(sam.image_encoder, normal * inside[..., None])


def _embed(encoder: ImageEncoderViT, pixels: Tensor) -> Tensor:
    """[B, 256, S/16, S/16] for float [B, S, S, 3]."""
    projection = encoder.patch_embed.proj
    batch, side, patch = len(pixels), pixels.shape[1], projection.kernel_size[0]
    rows = side // patch
    patches = pixels.view(batch, rows, patch, rows, patch, 3).transpose(2, 3).reshape(batch, rows, rows, -1)
    weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
    states = functional.linear(patches, weight, projection.bias) + encoder.pos_embed
    for block in encoder.blocks:
        states = block(states)
    narrow, first, wide, second = encoder.neck
    states = _normalised(first, functional.linear(states, narrow.weight[:, :, 0, 0]))
    padded = functional.pad(states, (0, 0, 1, 1, 1, 1))
    shifts = [padded[:, y : y + rows, x : x + rows] for y in range(3) for x in range(3)]
    weight = wide.weight.permute(0, 2, 3, 1).flatten(1)
    states = _normalised(second, functional.linear(torch.cat(shifts, dim=-1), weight))
    return states.permute(0, 3, 1, 2)


def _normalised(norm: LayerNorm2d, states: Tensor) -> Tensor:
    """SAM's LayerNorm2d for channels that come last."""
    return functional.layer_norm(states, norm.weight.shape, norm.weight, norm.bias, norm.eps)
