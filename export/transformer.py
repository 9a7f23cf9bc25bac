"""The layers of the decoder's two-way transformer, with products reassociated as `export/decoder.py` tells.

P prompts, T tokens of each, N image tokens, E channels, H heads of C/H channels. What is constant, the positional parts
among it, is computed here in float64 and stored. Constants stand on the right of their products: runtimes pack those
ahead. Source: segment_anything/modeling/transformer.py.
"""

import math

import torch
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn


class FirstLayer(nn.Module):
    """Layer 0: all prompts share the picture's side, so both cross attentions are small."""

    def __init__(self, layer: TwoWayAttentionBlock) -> None:
        super().__init__()
        self.layer = layer
        to_image: Attention = layer.cross_attn_token_to_image
        self.heads: int = to_image.num_heads
        self.scale = 1.0 / math.sqrt(to_image.internal_dim // self.heads)
        self.answer = _FoldedAnswer(layer.cross_attn_image_to_token)

    def forward(
        self, position: Tensor, keys: Tensor, keys_k: Tensor, keys_v: Tensor, keys_q: Tensor
    ) -> tuple[Tensor, Tensor]:
        layer = self.layer
        queries = layer.norm1(layer.self_attn(q=position, k=position, v=position))
        queries = layer.norm2(queries + self._look(queries + position, keys_k, keys_v))
        queries = layer.norm3(queries + layer.mlp(queries))
        blocks, values = self.answer(queries + position, queries)
        attention = grouped_softmax(keys_q @ blocks.transpose(1, 2), self.heads)
        return queries, layer.norm4(keys + attention @ values)

    def _look(self, queries: Tensor, keys_k: Tensor, keys_v: Tensor) -> Tensor:
        attention = self.layer.cross_attn_token_to_image
        prompts, tokens = queries.shape[:2]
        projected = attention.q_proj(queries) * self.scale
        # [H, P·T, C/H]: one product per head for all prompts.
        projected = projected.reshape(prompts * tokens, self.heads, -1).transpose(0, 1)
        seen = torch.softmax(projected @ keys_k, dim=-1) @ keys_v
        seen = seen.transpose(0, 1).reshape(prompts, tokens, -1)
        answer: Tensor = attention.out_proj(seen)
        return answer


class SecondLayer(nn.Module):
    """Layer 1: the picture's side differs per prompt, so its projections are folded into the tokens."""

    wq: Tensor
    position_q: Tensor

    def __init__(self, layer: TwoWayAttentionBlock, position: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.look = FoldedLook(layer.cross_attn_token_to_image, position)
        back: Attention = layer.cross_attn_image_to_token
        self.heads: int = back.num_heads
        self.answer = _FoldedAnswer(back)
        scale = 1.0 / math.sqrt(back.internal_dim // self.heads)
        self.register_buffer("wq", back.q_proj.weight * scale)
        query = back.q_proj.weight.double() @ position.T + back.q_proj.bias.double()[:, None]
        self.register_buffer("position_q", (query * scale).float())

    def forward(self, queries: Tensor, position: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.layer
        asked = queries + position
        queries = layer.norm1(queries + layer.self_attn(q=asked, k=asked, v=queries))
        queries = layer.norm2(queries + self.look(queries + position, picture))
        queries = layer.norm3(queries + layer.mlp(queries))
        blocks, values = self.answer(queries + position, queries)
        # keys·(Wqᵀ k): [P, H·T, E] instead of projecting [P, N, E].
        folded = blocks @ self.wq
        placed = (blocks @ self.position_q).transpose(1, 2)
        attention = grouped_softmax(picture @ folded.transpose(1, 2) + placed, self.heads)
        return queries, layer.norm4(picture + attention @ values)


class FoldedLook(nn.Module):
    """Tokens look at the picture, with the K and V projections folded into the tokens' side."""

    wk: Tensor
    position_k: Tensor
    value: Tensor
    value_bias: Tensor

    def __init__(self, attention: Attention, position: Tensor) -> None:
        super().__init__()
        self.q_proj = attention.q_proj
        self.heads: int = attention.num_heads
        self.scale = 1.0 / math.sqrt(attention.internal_dim // self.heads)
        self.register_buffer("wk", _per_head(attention.k_proj.weight, self.heads))
        self.register_buffer("position_k", (attention.k_proj.weight.double() @ position.T).float())
        # Σₙ aₙ (xₙ Wv + bv) = (Σₙ aₙ xₙ) Wv + bv, as Σₙ aₙ = 1: what was seen is projected, not the picture.
        value = _per_head(attention.v_proj.weight, self.heads).transpose(1, 2)
        self.register_buffer("value", value.contiguous())
        self.register_buffer("value_bias", attention.v_proj.bias)
        self.out_proj = attention.out_proj

    def forward(self, queries: Tensor, picture: Tensor) -> Tensor:
        prompts, tokens = queries.shape[:2]
        projected = self.q_proj(queries) * self.scale
        projected = projected.reshape(prompts, tokens, self.heads, -1).transpose(1, 2)
        folded = (projected @ self.wk).reshape(prompts, self.heads * tokens, -1)
        scores = folded @ picture.transpose(1, 2) + block_diagonal(projected) @ self.position_k
        seen = torch.softmax(scores, dim=-1) @ picture
        # One product per head for all prompts: [H, P·T, E] @ [H, E, C/H].
        seen = seen.reshape(prompts, self.heads, tokens, -1).transpose(0, 1).reshape(self.heads, prompts * tokens, -1)
        values = (seen @ self.value).transpose(0, 1).reshape(prompts, tokens, -1)
        answer: Tensor = self.out_proj(values + self.value_bias)
        return answer


class _FoldedAnswer(nn.Module):
    """The tokens' side of the picture looking at tokens.

    → `blocks` [P, H·T, C]: the projected keys, block-diagonal; `values` [P, H·T, E]: values with the output projection
    folded in. An image token's attention weights over one head sum to 1, so the bias rides on head 0's values.
    """

    out: Tensor
    bias: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.k_proj, self.v_proj = attention.k_proj, attention.v_proj
        self.heads: int = attention.num_heads
        self.register_buffer("out", _per_head(attention.out_proj.weight.T.contiguous(), self.heads))
        bias = torch.zeros(self.heads, 1, attention.out_proj.out_features)
        bias[0, 0] = attention.out_proj.bias
        self.register_buffer("bias", bias)

    def forward(self, asked: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        prompts, tokens = queries.shape[:2]
        split = (prompts, tokens, self.heads, -1)
        keys = self.k_proj(asked).reshape(split).transpose(1, 2)
        # Softmax does not see what is added to all of a group: centred, its scores need no maximum.
        keys = keys - keys.mean(dim=2, keepdim=True)
        values = self.v_proj(queries).reshape(split).transpose(1, 2) @ self.out + self.bias
        return block_diagonal(keys), values.reshape(prompts, self.heads * tokens, -1)


def _per_head(weight: Tensor, heads: int) -> Tensor:
    """[C, E] projection rows to [H, C/H, E]."""
    return weight.reshape(heads, -1, weight.shape[-1])


def block_diagonal(heads: Tensor) -> Tensor:
    """[P, H, T, C/H] → [P, H·T, C] with head h's rows non-zero only in head h's columns."""
    prompts, count, tokens, width = heads.shape
    eye = torch.eye(count, dtype=heads.dtype).reshape(1, count, 1, count, 1)
    return (heads.unsqueeze(3) * eye).reshape(prompts, count * tokens, count * width)


def grouped_softmax(scores: Tensor, heads: int) -> Tensor:
    """Softmax over the tokens of each head: scores [P, N, H·T] whose mean over each head's T tokens is 0.

    Runtimes are slow on rows of seven: the sums are a product with ones, and the usual maximum is left out. Scores
    are cut off at ±80, far beyond where a centred softmax is 0 or 1, so that nothing overflows.
    """
    tokens = scores.shape[2] // heads
    ones = torch.eye(heads, dtype=scores.dtype).repeat_interleave(tokens, dim=0)
    powers = torch.exp(scores.clamp(-80, 80))
    return powers * (torch.reciprocal(powers @ ones) @ ones.T)
