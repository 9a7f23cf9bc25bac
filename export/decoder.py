"""The official prompt encoder and mask decoder, rewritten as five small graphs with the same result.

The official decoder projects all N image tokens again for every prompt. Here the work is split by how often it is
needed, and products are reassociated so that nothing of size N is projected per prompt:

- `ImageGraph`, once per picture: what every prompt shares (layer 0's keys, values and image-side queries).
- `PointGraph`, once per prompt: where its points lie and what they mean, always in float32.
- `PromptGraph`, once per prompt: the two-way transformer, the predicted IoUs, the mask tokens' hyper-network vectors.
- `MaskGraph`, once per surviving prompt: upscaling and the masks' low-res logits.
- `MaskPromptGraph`, only for a mask given as a prompt: its dense embedding, which `ImageGraph` takes.

With T prompt tokens and H heads, `q · (K x) = (q K) · x`: projections of the N tokens are folded into the T tokens'
side, so the tokens `x` meet matrices of H·T columns. A term that is the same for all N keys cancels in the softmax
over them and is left out. What is constant (positional parts) is computed here, in float64, and stored.

Shapes: P prompts, T = 1 IoU + M mask + prompt tokens, N = h·w image tokens, E = 256 channels, H = 8 heads, C = 128.
Source: segment_anything/modeling/{prompt_encoder,mask_decoder,transformer}.py; arXiv 2304.02643, figure 14.
"""

import math

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor, nn
from torch.nn import functional

from export.transformer import FirstLayer, FoldedLook, SecondLayer


class ImageGraph(nn.Module):
    """Embedding + dense prompt → what all prompts of one picture share.

    Inputs: `embedding` [E, h, w]; `dense` [E, h, w] of `MaskPromptGraph`, or zeros [E, 1, 1] without a mask prompt.
    Outputs: `keys` [N, E]; `keys_k` [H, C/H, N], `keys_v` [H, N, C/H] (tokens look at the picture, layer 0);
    `keys_q` [N, C] (the picture looks at tokens, layer 0), scaled.
    """

    no_mask: Tensor
    wk: Tensor
    wv: Tensor
    bv: Tensor
    wq: Tensor
    position_k: Tensor
    position_q: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        layer: TwoWayAttentionBlock = sam.mask_decoder.transformer.layers[0]
        to_image, to_token = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        self.heads: int = to_image.num_heads
        scale = 1.0 / math.sqrt(to_token.internal_dim // to_token.num_heads)
        self.register_buffer("no_mask", sam.prompt_encoder.no_mask_embed.weight.reshape(-1, 1, 1))
        self.register_buffer("wk", to_image.k_proj.weight.T.contiguous())
        self.register_buffer("wv", to_image.v_proj.weight.T.contiguous())
        self.register_buffer("bv", to_image.v_proj.bias)
        self.register_buffer("wq", (to_token.q_proj.weight.double().T * scale).float())
        position = dense_position(sam)
        self.register_buffer("position_k", (position @ to_image.k_proj.weight.double().T).float())
        query = position @ to_token.q_proj.weight.double().T + to_token.q_proj.bias.double()
        self.register_buffer("position_q", (query * scale).float())

    def forward(self, embedding: Tensor, dense: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        keys = (embedding + self.no_mask + dense).flatten(1).transpose(0, 1)
        keys_k = keys @ self.wk + self.position_k
        keys_v = keys @ self.wv + self.bv
        keys_q = keys @ self.wq + self.position_q
        split = (keys.shape[0], self.heads, -1)
        return (
            keys,
            keys_k.reshape(split).permute(1, 2, 0),
            keys_v.reshape(split).permute(1, 0, 2),
            keys_q,
        )


class PointGraph(nn.Module):
    """Points → prompt tokens: PromptEncoder._embed_points and _embed_boxes in one, as the label chooses what is added.

    Inputs: `coords` float32 [P, K, 2], (x, y) in pixels of the model's S×S frame; `labels` int32 [P, K]: 1 foreground,
    0 background, 2/3 a box's corners, -1 padding. Output: `prompts` [P, K, E]. A position is an angle of many turns:
    in half precision it would be off by pixels.
    """

    gaussian: Tensor
    label_embedding: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        encoder = sam.prompt_encoder
        self.side: int = encoder.input_image_size[0]
        self.register_buffer("gaussian", encoder.pe_layer.positional_encoding_gaussian_matrix)
        embeddings = [encoder.not_a_point_embed, *encoder.point_embeddings]
        self.register_buffer("label_embedding", torch.cat([e.weight for e in embeddings]))

    def forward(self, coords: Tensor, labels: Tensor) -> Tensor:
        angles = 2 * math.pi * ((2 * ((coords + 0.5) / self.side) - 1) @ self.gaussian)
        encoding = torch.cat([angles.sin(), angles.cos()], dim=-1)
        real = (labels >= 0).unsqueeze(-1).to(encoding.dtype)
        added: Tensor = functional.embedding((labels + 1).long(), self.label_embedding)
        return encoding * real + added


class PromptGraph(nn.Module):
    """Prompts → predicted IoUs, hyper-network vectors and the transformed image tokens.

    Inputs: `ImageGraph`'s outputs; `prompts` [P, K, E] of `PointGraph`.
    Outputs: `iou` [P, M]; `hyper` [P, M, E/8]; `tokens` [P, N, E].
    """

    output_tokens: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        decoder, transformer = sam.mask_decoder, sam.mask_decoder.transformer
        if transformer.depth != 2:
            raise ValueError(f"a two-way transformer of depth 2 is expected, not {transformer.depth}")
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        self.register_buffer("output_tokens", outputs)
        self.masks: int = decoder.num_mask_tokens
        self.first = FirstLayer(transformer.layers[0])
        self.second = SecondLayer(transformer.layers[1], dense_position(sam))
        self.final = FoldedLook(transformer.final_attn_token_to_image, dense_position(sam))
        self.norm = transformer.norm_final_attn
        self.iou_head = decoder.iou_prediction_head
        self.hyper = _HyperNetworks(decoder.output_hypernetworks_mlps)

    def forward(
        self, keys: Tensor, keys_k: Tensor, keys_v: Tensor, keys_q: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        outputs = self.output_tokens.unsqueeze(0).expand(prompts.shape[0], -1, -1)
        position = torch.cat([outputs, prompts], dim=1)
        queries, picture = self.first(position, keys, keys_k, keys_v, keys_q)
        queries, picture = self.second(queries, position, picture)
        # Only the IoU and mask tokens are read, so only they look at the picture a last time.
        count = 1 + self.masks
        queries, position = queries[:, :count], position[:, :count]
        queries = self.norm(queries + self.final(queries + position, picture))
        return self.iou_head(queries[:, 0]), self.hyper(queries[:, 1:]), picture


class MaskGraph(nn.Module):
    """Image tokens + hyper-network vectors → low-res logits.

    Inputs: `tokens` [P, N, E] of `PromptGraph`; `hyper` [P, K, E/8], only those that are wanted.
    Output: `logits` [P, K, 4h, 4w]. Both transposed convolutions have kernel = stride = 2, so each is one matrix
    product per pixel; the pixels are put in their places once, at the end.
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        up1, norm, _, up2, _ = sam.mask_decoder.output_upscaling
        self.size: tuple[int, int] = sam.prompt_encoder.image_embedding_size
        self.mid: int = up1.out_channels
        self.out: int = up2.out_channels
        self.register_buffer("w1", up1.weight.permute(0, 2, 3, 1).reshape(up1.in_channels, -1).contiguous())
        self.register_buffer("b1", up1.bias.repeat(4))
        self.register_buffer("w2", up2.weight.permute(0, 2, 3, 1).reshape(up2.in_channels, -1).contiguous())
        self.register_buffer("b2", up2.bias.repeat(4))
        self.norm = nn.LayerNorm(self.mid, eps=norm.eps)
        self.norm.weight, self.norm.bias = norm.weight, norm.bias

    def forward(self, tokens: Tensor, hyper: Tensor) -> Tensor:
        prompts, wanted = tokens.shape[0], hyper.shape[1]
        height, width = self.size
        once = (tokens @ self.w1 + self.b1).reshape(prompts, -1, self.mid)
        once = functional.gelu(self.norm(once))
        twice = functional.gelu(once @ self.w2 + self.b2).reshape(prompts, -1, self.out)
        logits = hyper @ twice.transpose(1, 2)
        # Rows run over (y, x, dy1, dx1, dy2, dx2).
        logits = logits.reshape(prompts, wanted, height, width, 2, 2, 2, 2)
        logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(prompts, wanted, 4 * height, 4 * width)


class MaskPromptGraph(nn.Module):
    """Low-res logits given as a prompt → what they add to the dense embedding of "no mask".

    Input: `logits` [1, 4h, 4w]. Output: `dense` [E, h, w]. Source: PromptEncoder._embed_masks.
    """

    no_mask: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.downscaling = sam.prompt_encoder.mask_downscaling
        self.register_buffer("no_mask", sam.prompt_encoder.no_mask_embed.weight.reshape(-1, 1, 1))

    def forward(self, logits: Tensor) -> Tensor:
        dense: Tensor = self.downscaling(logits.unsqueeze(0))[0] - self.no_mask
        return dense


def dense_position(sam: Sam) -> Tensor:
    """The picture's positional encoding, float64 [N, E]."""
    position: Tensor = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T.double()
    return position


class _HyperNetworks(nn.Module):
    """All mask tokens' three-layer perceptrons as batched products."""

    def __init__(self, mlps: nn.ModuleList) -> None:
        super().__init__()
        layers: list[list[nn.Linear]] = [list(mlp.layers) for mlp in mlps]  # type: ignore[arg-type]
        self.depth = len(layers[0])
        for depth in range(self.depth):
            weight = torch.stack([mlp[depth].weight.T for mlp in layers])
            bias = torch.stack([mlp[depth].bias for mlp in layers])
            self.register_buffer(f"weight{depth}", weight)
            self.register_buffer(f"bias{depth}", bias.unsqueeze(1))

    def forward(self, tokens: Tensor) -> Tensor:
        state = tokens.transpose(0, 1)  # [M, P, E]
        for depth in range(self.depth):
            state = state @ getattr(self, f"weight{depth}") + getattr(self, f"bias{depth}")
            if depth < self.depth - 1:
                state = functional.relu(state)
        return state.transpose(0, 1)
