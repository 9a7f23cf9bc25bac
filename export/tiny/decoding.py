"""The official mask decoder for many prompts on many pictures at once, with fewer operations.

The same sums as `segment_anything`'s `MaskDecoder` and `TwoWayTransformer`, which repeat a
picture's embedding for each prompt. Here what all prompts of a picture share is made once, heads
are never moved apart in memory (a token's query for one head is zero in the channels of the
others), and the upscaling stays a matrix product for each pixel.
"""

import math

import torch
from segment_anything.modeling import MaskDecoder, Sam, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional


def decode(sam: Sam, embedding: Tensor, sparse: Tensor, dense: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Low-res logits [B, P, 4, L, L] and predicted IoU [B, P, 4] for P prompts on each picture.

    `embedding` is [B, 256, h, w], `sparse` [B, P, tokens, 256] and `dense`, where there is a mask
    prompt, [B * P, 256, h, w].
    """
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    batch, count = sparse.shape[:2]
    height, width = embedding.shape[-2:]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([tokens.expand(batch * count, -1, -1), sparse.flatten(0, 1)], dim=1)
    if dense is None:
        source = embedding + prompts.no_mask_embed.weight[:, :, None, None]
    else:
        source = embedding.repeat_interleave(count, dim=0) + dense
    place = prompts.get_dense_pe().flatten(2).transpose(1, 2)
    states, keys = _two_way(decoder.transformer, source.flatten(2).transpose(1, 2), place, tokens)
    heads = decoder.output_hypernetworks_mlps
    vectors = torch.stack([head(states[:, 1 + i]) for i, head in enumerate(heads)], dim=1)
    logits = draw_masks(decoder, keys.view(len(keys), height, width, -1), vectors)
    return (
        logits.float().view(batch, count, *logits.shape[1:]),
        decoder.iou_prediction_head(states[:, 0]).float().view(batch, count, -1),
    )


def _two_way(transformer: TwoWayTransformer, keys: Tensor, place: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """States of the tokens [N, T, 256] and image tokens [N, hw, 256] for N prompts.

    `keys` is [G, hw, 256]; where G < N, each of the G pictures has N / G prompts in a row.
    """
    states = tokens
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            states = layer.self_attn(q=states, k=states, v=states)
        else:
            asked = states + tokens
            states = states + layer.self_attn(q=asked, k=asked, v=states)
        states = layer.norm1(states)
        to_image, to_token = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        placed = place.to(keys.dtype)
        states = layer.norm2(states + _look_at_image(to_image, states + tokens, keys, placed))
        states = layer.norm3(states + layer.mlp(states))
        keys = _look_at_tokens(to_token, keys, placed, states + tokens, states, layer.norm4)
    seen = _look_at_image(transformer.final_attn_token_to_image, states + tokens, keys, place.to(keys.dtype))
    return transformer.norm_final_attn(states + seen), keys


def _apart(projected: Tensor, heads: int) -> Tensor:
    """[N, T, C] to [N, heads * T, C]: row (head, token) holds that head's channels, else zeros."""
    tokens, channels = projected.shape[1:]
    mine = torch.eye(heads, device=projected.device, dtype=projected.dtype)
    mine = mine.repeat_interleave(channels // heads, dim=1)
    return (projected[:, None] * mine[:, None]).view(len(projected), heads * tokens, channels)


def _look_at_image(attention: Attention, asked: Tensor, keys: Tensor, place: Tensor) -> Tensor:
    """Cross attention from T tokens of N prompts to the image tokens of G pictures: [N, T, 256]."""
    heads, (groups, count) = attention.num_heads, (len(keys), asked.shape[1])
    query = _apart(attention.q_proj(asked) / math.sqrt(attention.internal_dim // heads), heads)
    scores = query.view(groups, -1, query.shape[-1]) @ attention.k_proj(keys + place).transpose(1, 2)
    seen = scores.softmax(dim=-1).to(query.dtype) @ attention.v_proj(keys)
    split = seen.view(len(asked), heads, count, heads, -1)
    own = torch.diagonal(split, dim1=1, dim2=3)  # [N, T, channels of a head, heads]
    output: Tensor = attention.out_proj(own.transpose(2, 3).flatten(2))
    return output


def _look_at_tokens(
    attention: Attention, keys: Tensor, place: Tensor, asked: Tensor, values: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Cross attention from image tokens to the tokens of N prompts, added and normalised."""
    heads, groups = attention.num_heads, len(keys)
    prompts, count = asked.shape[:2]
    each = attention.internal_dim // heads
    held = _apart(attention.k_proj(asked) / math.sqrt(each), heads)
    query = attention.q_proj(keys + place)
    scores = query @ held.view(groups, -1, held.shape[-1]).transpose(1, 2)
    chances = scores.unflatten(2, (-1, heads, count)).softmax(dim=-1).to(query.dtype)
    chances = chances.flatten(3).transpose(1, 2).reshape(prompts, -1, heads * count)
    given = _apart(attention.v_proj(values), heads)
    given = functional.linear(given, attention.out_proj.weight)
    added = chances @ given + attention.out_proj.bias.to(given.dtype)
    shared = keys[:, None] + added.unflatten(0, (groups, -1))
    normed: Tensor = norm(shared.flatten(0, 1))
    return normed


def draw_masks(decoder: MaskDecoder, source: Tensor, vectors: Tensor) -> Tensor:
    """Logits [N, Q, L, L] of Q vectors [N, Q, 32] on image tokens [N, h, w, 256].

    The official upscaling: a transposed convolution of 2 x 2 with stride 2 is a matrix product for
    each pixel, and nothing needs to be moved until there are but Q numbers left for each.
    """
    batch, height, width, channels = source.shape
    first, norm, activation, second, last = decoder.output_upscaling
    quarter, eighth = channels // 4, channels // 8
    weight = first.weight.permute(0, 2, 3, 1).reshape(channels, 4 * quarter)
    fine = functional.linear(source, weight.T, first.bias.repeat(4)).view(batch, -1, quarter)
    fine = functional.layer_norm(fine, (quarter,), norm.weight, norm.bias, norm.eps)
    weight = second.weight.permute(0, 2, 3, 1).reshape(quarter, 4 * eighth)
    fine = functional.linear(activation(fine), weight.T, second.bias.repeat(4))
    logits = last(fine).view(batch, -1, eighth) @ vectors.transpose(1, 2)
    grid = logits.view(batch, height, width, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    drawn: Tensor = grid.reshape(batch, -1, height * 4, width * 4)
    return drawn
