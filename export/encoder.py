"""The image encoder as one graph that takes pixels.

The same sums as `segment_anything`'s `Sam.preprocess` and `ImageEncoderViT`, exact but for rounding, in an order that
suits a processor: tokens lie as rows of one matrix, so that each linear layer is one product with its bias and each
convolution the product that it is; attention over the whole picture takes a few rows of tokens at a time, so that the
scores (a gigabyte for ViT-H) stay near the core. docs/decisions/0009 says what it saves.
"""

from typing import cast

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Attention, Block, get_rel_pos
from torch import Tensor, nn
from torch.nn import functional

SCORES_AT_ONCE = 24 * 2**20
"""Bytes of a picture's scores that are held at a time: two rows of tokens at ViT-B's shapes, nine at tiny's."""


class EncoderGraph(nn.Module):
    """Pixels → embedding, with the preprocessing inside, so that 1 byte a value travels and not 4.

    Inputs: `image` uint8 [B, S, S, 3], RGB, the picture in the upper left corner; `size` int32 [B, 2], (height, width)
    of the part that holds it. Output: `embedding` float32 [B, E, S/16, S/16].

    The official `Sam.preprocess` pads with zeros *after* normalising, so what lies outside of `size` is set to zero
    here, whatever the canvas holds.
    """

    mean: Tensor
    deviation: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder
        place = torch.arange(self.encoder.img_size, dtype=torch.int32)
        # A row's values as one axis [3 S]: sums along three channels are slow.
        self.register_buffer("mean", sam.pixel_mean.reshape(3).repeat(len(place)))
        self.register_buffer("deviation", sam.pixel_std.reshape(3).repeat(len(place)))
        self.register_buffer("rows", place)
        self.register_buffer("columns", place.repeat_interleave(3))

    def forward(self, image: Tensor, size: Tensor) -> Tensor:
        normal = (image.flatten(2).to(torch.float32) - self.mean) / self.deviation
        rows = (self.rows < size[:, :1]).to(torch.float32).unsqueeze(2)
        columns = (self.columns < size[:, 1:]).to(torch.float32).unsqueeze(1)
        side = self.encoder.img_size
        return self._embed((normal * rows * columns).view(-1, side, side, 3))

    def _embed(self, pixels: Tensor) -> Tensor:
        """[B, E, S/16, S/16] for float [B, S, S, 3]."""
        states = patches(self.encoder, pixels) + self.encoder.pos_embed
        across, channels = states.shape[2:]
        states = states.reshape(-1, channels)
        for block in self.encoder.blocks:
            states = _through(block, states, across)
        return neck(self.encoder, states.view(-1, across, across, channels))


def patches(encoder: ImageEncoderViT, pixels: Tensor) -> Tensor:
    """Tokens [B, T, T, C], without their positions, of pixels [B, S, S, 3]; patches do not overlap."""
    projection = encoder.patch_embed.proj
    patch: int = projection.kernel_size[0]
    across = pixels.shape[1] // patch
    held = pixels.view(-1, across, patch, across, patch, 3).transpose(2, 3).reshape(-1, patch * patch * 3)
    tokens = functional.linear(held, projection.weight.permute(0, 2, 3, 1).flatten(1), projection.bias)
    return tokens.view(-1, across, across, tokens.shape[1])


def neck(encoder: ImageEncoderViT, states: Tensor) -> Tensor:
    """[B, E, T, T] of tokens [B, T, T, C]; a window of 3 x 3 is nine shifted copies side by side."""
    narrow, first, wide, second = encoder.neck
    across = states.shape[1]
    states = _normalised(first, functional.linear(states.flatten(0, 2), narrow.weight[:, :, 0, 0]))
    channels = states.shape[1]
    padded = functional.pad(states.view(-1, across, across, channels), (0, 0, 1, 1, 1, 1))
    shifts = [padded[:, y : y + across, x : x + across] for y in range(3) for x in range(3)]
    weight = wide.weight.permute(0, 2, 3, 1).flatten(1)
    states = functional.linear(torch.cat(shifts, dim=3).view(-1, 9 * channels), weight)
    return _normalised(second, states).view(-1, across, across, channels).permute(0, 3, 1, 2)


def _normalised(norm: LayerNorm2d, states: Tensor) -> Tensor:
    """SAM's LayerNorm2d for channels that come last."""
    return functional.layer_norm(states, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def _through(block: Block, states: Tensor, across: int) -> Tensor:
    """The official `Block.forward` on tokens [B T T, C] of pictures that are T = `across` tokens wide."""
    window = cast("int", block.window_size)
    normed = block.norm1(states)
    if window:
        attended = _together(_attention(block.attn, _apart(normed, across, window), window), across, window)
    else:
        attended = _attention(block.attn, normed, across)
    states = states + attended
    summed: Tensor = states + block.mlp(block.norm2(states))
    return summed


def _apart(states: Tensor, across: int, window: int) -> Tensor:
    """Tokens window by window [B n n w w, C], with zeros right and below where windows do not fit."""
    channels, over = states.shape[1], -across % window
    if over:
        states = functional.pad(states.view(-1, across, across, channels), (0, 0, 0, over, 0, over))
    count = (across + over) // window
    return states.view(-1, count, window, count, window, channels).transpose(2, 3).reshape(-1, channels)


def _together(states: Tensor, across: int, window: int) -> Tensor:
    """`_apart` undone."""
    channels, whole = states.shape[1], across + -across % window
    count = whole // window
    states = states.view(-1, count, count, window, window, channels).transpose(2, 3)
    states = states.reshape(-1, whole, whole, channels)
    return states[:, :across, :across].reshape(-1, channels)


def _attention(attention: Attention, states: Tensor, across: int) -> Tensor:
    """The official `Attention.forward` on tokens [N w w, C] of N windows that are w = `across` tokens wide."""
    heads, channels, tokens = cast("int", attention.num_heads), states.shape[1], across**2
    each = attention.qkv(states).view(-1, tokens, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    queries, keys, values = each.unbind(0)
    # [w, C/H, w]: for each row (column) of queries, its offsets to the rows (columns) of keys.
    to_rows, to_columns = (
        get_rel_pos(across, across, table).transpose(1, 2) for table in (attention.rel_pos_h, attention.rel_pos_w)
    )
    square = queries.reshape(-1, heads, across, across, channels // heads)
    on_rows = (square @ to_rows).unsqueeze(5)
    on_columns = (square.transpose(2, 3) @ to_columns).transpose(2, 3).unsqueeze(4)
    queries, keys = (queries * attention.scale).view(square.shape), keys.transpose(2, 3)
    rows = max(1, SCORES_AT_ONCE // (4 * heads * across * tokens))
    seen = []
    for start in range(0, across, rows):
        some = slice(start, start + rows)
        scores = queries[:, :, some].flatten(2, 3) @ keys
        scores = scores.view(-1, heads, scores.shape[2] // across, across, across, across)
        scores = scores + on_rows[:, :, some] + on_columns[:, :, some]
        seen.append(scores.flatten(4).flatten(2, 3).softmax(dim=3) @ values)
    answer: Tensor = attention.proj(torch.cat(seen, dim=2).transpose(1, 2).reshape(-1, channels))
    return answer
