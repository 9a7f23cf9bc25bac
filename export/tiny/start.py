"""Where the training starts and how the model grows: initial weights, and changes of side.

A random start learns nothing for a long time. This one already sees the cells of each patch and
hands them to the decoder, looks at neighbours first, and lets a prompt look at its own place.
"""

import math

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor, nn
from torch.nn import functional

from export.tiny import architecture

CELLS = 4
"""A patch has 4 x 4 cells of 4 x 4 pixels: a cell is a pixel of the low-res mask."""

FEATURES = architecture.ENCODER_WIDTH // CELLS**2
"""Numbers that a cell starts with: 10 waves of luminance, 3 of each colour difference."""

SHARED = 0.7
"""Part of a patch's mean that each cell's numbers leave out, so that differences within the patch
are not small beside what its cells have in common."""


def new_model(seed: int, side: int) -> Sam:
    """An untrained model of this side; the same seed gives the same weights."""
    torch.manual_seed(seed)
    sam = architecture.build(side)
    with torch.no_grad():
        _see_cells(sam.image_encoder.patch_embed.proj)
        _pass_through(sam)
        sam.image_encoder.pos_embed.copy_(_waves(side // architecture.PATCH_SIDE) * 0.2)
        for index, block in enumerate(sam.image_encoder.blocks):
            near = 0.02 if index in architecture.ENCODER_GLOBAL_BLOCKS else 0.3
            _look_near(block.attn, near, shift=1.0 if near > 0.1 else 0.0)
            block.mlp.lin1.weight.mul_(2.5)  # else the GELUs are all but linear and see no edges
        _mix_wavelengths(sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix)
        transformer = sam.mask_decoder.transformer
        for layer in transformer.layers:
            layer.cross_attn_token_to_image.q_proj.weight.copy_(layer.cross_attn_token_to_image.k_proj.weight)
            layer.cross_attn_image_to_token.q_proj.weight.copy_(layer.cross_attn_image_to_token.k_proj.weight)
        last = transformer.final_attn_token_to_image
        last.q_proj.weight.copy_(last.k_proj.weight)
    return sam


def _see_cells(projection: nn.Conv2d) -> None:
    """A token starts as its 16 cells side by side, each as its own lowest cosine waves.

    Faster waves are stronger: pictures have amplitudes that fall with the frequency, so all
    numbers come out about alike.
    """
    side = architecture.PATCH_SIDE // CELLS
    steps = (np.arange(side) + 0.5) * np.pi / side
    order = sorted(((u, v) for u in range(side) for v in range(side)), key=lambda uv: uv[0] ** 2 + uv[1] ** 2)
    axes = [(np.array([0.58, 0.58, 0.58]), 10)]
    axes += [(np.array([0.71, 0.0, -0.71]), 3), (np.array([0.41, -0.82, 0.41]), 3)]
    waves = []
    for axis, count in axes:
        for u, v in order[:count]:
            wave = np.outer(np.cos(u * steps), np.cos(v * steps))
            wave *= (1 + 3 * math.hypot(u, v)) / np.abs(wave).sum() * 1.2
            waves.append(axis[:, None, None] * wave * (1 if count > 3 else 2.5))
    filters = torch.zeros(CELLS, CELLS, FEATURES, 3, CELLS, side, CELLS, side)
    for row in range(CELLS):
        for column in range(CELLS):
            filters[row, column, :, :, row, :, column] = torch.from_numpy(np.stack(waves)).float()
    own = filters.reshape(CELLS**2, FEATURES, 3, CELLS * side, CELLS * side)
    own = 2.5 * (own - SHARED * own.mean(dim=0))
    projection.weight.copy_(own.flatten(0, 1))
    nn.init.zeros_(projection.bias)  # type: ignore[arg-type]


def _pass_through(sam: Sam) -> None:
    """Let each low-res pixel of the decoder see the numbers of its own cell from the first step.

    The neck starts as the identity, the first upscaling takes a quarter of the cells apart, the
    second the cell itself, a third of it as it is and the rest in random mixtures.
    """
    narrow, _, wide, _ = sam.image_encoder.neck
    narrow.weight.copy_(torch.eye(architecture.EMBEDDING_CHANNELS)[:, :, None, None])
    wide.weight.mul_(0.3)
    wide.weight[:, :, 1, 1] += torch.eye(architecture.EMBEDDING_CHANNELS)
    first, norm, _, second, _ = sam.mask_decoder.output_upscaling
    whole = torch.eye(CELLS**2) + SHARED / (1 - SHARED) / CELLS**2  # gives back what cells share
    cells = torch.kron(whole, torch.eye(FEATURES)).view(-1, CELLS, CELLS, FEATURES)
    for y in range(2):
        for x in range(2):
            quarter = cells[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            first.weight[:, :, y, x] = 0.1 * first.weight[:, :, y, x] + quarter.flatten(1)
    norm.weight.fill_(0.7)
    norm.bias.fill_(1.0)  # so that the GELU behind it passes both signs
    plain = (0, 1, 2, 10, 13)  # luminance and its slopes, colours
    outputs = second.weight.shape[1]
    second.bias.zero_()
    for y in range(2):
        for x in range(2):
            kernel = torch.zeros(4, FEATURES, outputs)
            mixed = torch.randn(FEATURES, outputs) * 0.4
            mixed[:, : 2 * len(plain)] = 0
            for place, feature in enumerate(plain):
                mixed[feature, 2 * place], mixed[feature, 2 * place + 1] = 1.5, -1.5
            kernel[2 * y + x] = mixed
            second.weight[:, :, y, x] = kernel.flatten(0, 1) + 0.02 * torch.randn(4 * FEATURES, outputs)
    second.bias.copy_(0.5 * torch.randn(outputs) - second.weight.mean(dim=(2, 3)).sum(dim=0))


def _waves(tokens: int) -> Tensor:
    """[1, tokens, tokens, width] sines of the row and of the column."""
    quarter = architecture.ENCODER_WIDTH // 4
    place = torch.arange(tokens)[:, None] + 0.5
    angle = place * torch.exp(torch.linspace(math.log(1.5), math.log(0.05), quarter))
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = wave[:, None].expand(-1, tokens, -1)
    columns = wave[None].expand(tokens, -1, -1)
    return torch.cat([rows, columns], dim=2)[None]


def _look_near(attention: Attention, sharpness: float, shift: float) -> None:
    """Make each head prefer keys near its query, moved by `shift` tokens up, down, left or right.

    The bias is a parabola of the offset: the query's constant part times the table of relative
    positions, as in ConViT (d'Ascoli et al. 2021).
    """
    width = architecture.ENCODER_WIDTH
    heads = architecture.ENCODER_HEADS
    each = width // heads
    directions = ((-1, 0), (1, 0), (0, -1), (0, 1))
    tables: tuple[Tensor, Tensor] = (attention.rel_pos_h, attention.rel_pos_w)
    nn.init.zeros_(attention.qkv.bias)
    for table in tables:
        reach = (len(table) - 1) // 2
        offsets = torch.arange(-reach, reach + 1).float()
        for head in range(heads):
            axis = 0 if table is tables[0] else 1
            centre = shift * directions[head % 4][axis]
            parabola = -sharpness * (offsets + centre) ** 2
            table[:, head] = parabola.clamp(min=-9) / 2
            attention.qkv.bias[head * each + head] = 2.0


def _mix_wavelengths(matrix: Tensor) -> None:
    """Prompt positions in waves from as long as the picture to two tokens."""
    scales = torch.exp(torch.linspace(math.log(0.4), math.log(4.0), matrix.shape[1]))
    matrix.copy_(functional.normalize(torch.randn_like(matrix), dim=0) * scales * 1.2)


def grow(state: dict[str, Tensor], side: int) -> dict[str, Tensor]:
    """A state dict for another side: the same offsets mean the same, new ones repeat the outermost.

    Absolute positions are interpolated, relative positions are cut or continued.
    """
    target = architecture.build(side).state_dict()
    grown = {}
    for name, tensor in state.items():
        shape = target[name].shape
        if tensor.shape == shape:
            grown[name] = tensor
        elif name.endswith("pos_embed"):
            square = functional.interpolate(
                tensor.permute(0, 3, 1, 2), size=shape[1:3], mode="bicubic", align_corners=False
            )
            grown[name] = square.permute(0, 2, 3, 1).contiguous()
        else:  # rel_pos_h, rel_pos_w: [2 * tokens - 1, channels]
            extra = (shape[0] - len(tensor)) // 2
            if extra < 0:
                grown[name] = tensor[-extra : len(tensor) + extra].clone()
            else:
                first, last = tensor[:1].expand(extra, -1), tensor[-1:].expand(extra, -1)
                grown[name] = torch.cat([first, tensor, last])
    return grown
