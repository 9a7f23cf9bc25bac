"""The official mask decoder for many prompts on many pictures at once, with fewer operations.

The same sums as `segment_anything`'s `MaskDecoder` and `TwoWayTransformer`, which repeat a
picture's embedding for each prompt. Here what all prompts of a picture share is made once, the
image tokens are never projected (their projection is a product with the few tokens' side instead:
q (W k) = (q W) k), and the upscaling stays a matrix product for each pixel.
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
    with torch.autocast(embedding.device.type, enabled=False):
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


def _by_head(weight: Tensor, heads: int) -> Tensor:
    """Rows [heads * each, C] of a projection as [heads, each, C]."""
    return weight.view(heads, -1, weight.shape[1])


def _look_at_image(attention: Attention, asked: Tensor, keys: Tensor, place: Tensor) -> Tensor:
    """Cross attention from T tokens of N prompts to the image tokens of G pictures: [N, T, 256].

    The bias of the keys' projection moves all scores of a row alike: the softmax does not see it.
    """
    heads, groups = attention.num_heads, len(keys)
    query = (attention.q_proj(asked) / math.sqrt(attention.internal_dim // heads)).unflatten(2, (heads, -1))
    wanted = torch.einsum("nthc,hck->nthk", query, _by_head(attention.k_proj.weight, heads))
    wanted = wanted.reshape(groups, -1, keys.shape[-1])
    scores = torch.baddbmm(wanted @ place[0].T, wanted, keys.transpose(1, 2))
    seen = scores.softmax(dim=-1).to(wanted.dtype) @ keys
    seen = seen.view(*asked.shape[:2], heads, -1)
    own = torch.einsum("nthk,hck->nthc", seen, _by_head(attention.v_proj.weight, heads)).flatten(2)
    output: Tensor = attention.out_proj(own + attention.v_proj.bias.to(own.dtype))
    return output


def _look_at_tokens(
    attention: Attention, keys: Tensor, place: Tensor, asked: Tensor, values: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Cross attention from image tokens to the T tokens of N prompts, added and normalised."""
    heads, groups = attention.num_heads, len(keys)
    prompts, count = asked.shape[:2]
    held = (attention.k_proj(asked) / math.sqrt(attention.internal_dim // heads)).unflatten(2, (heads, -1))
    wanted = torch.einsum("nthc,hck->nthk", held, _by_head(attention.q_proj.weight, heads))
    wanted = wanted.reshape(groups, -1, keys.shape[-1]).transpose(1, 2)
    constant = (held * attention.q_proj.bias.view(heads, -1).to(held.dtype)).sum(-1).view(groups, 1, -1)
    scores = torch.baddbmm(place @ wanted + constant, keys, wanted)
    apart = scores.view(*scores.shape[:2], -1, count, heads)
    chances = apart.softmax(dim=-2).to(held.dtype)
    chances = chances.flatten(3).transpose(1, 2).reshape(prompts, -1, count * heads)
    given = attention.v_proj(values).unflatten(2, (heads, -1))
    columns = _by_head(attention.out_proj.weight.T, heads)
    given = torch.einsum("nthc,hcv->nthv", given, columns.to(given.dtype))
    given = (given + (attention.out_proj.bias / heads).to(given.dtype)).flatten(1, 2)  # a head's chances add up to 1
    if groups == prompts:
        moved = torch.baddbmm(keys, chances, given)
    else:
        moved = (keys[:, None] + (chances @ given).view(groups, -1, *keys.shape[1:])).flatten(0, 1)
    normed: Tensor = norm(moved)
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
