"""The tiny variant: SAM's own classes, small enough to be committed and to be trained in hours.

Everything that a client of SAM sees is as in the official variants: prompts are embedded in 256
numbers, a token covers 16 x 16 pixels, the decoder has the official structure and answers one or
three masks, pixels are normalised with the official mean and deviation.
"""

from functools import partial

from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

IMAGE_SIDE = 864
"""Pixels along the longest side of what the encoder sees: 2916 tokens, low-res masks of 216 x 216."""

PATCH_SIDE = 16
EMBEDDING_CHANNELS = 256

ENCODER_WIDTH = 256
ENCODER_DEPTH = 6
ENCODER_HEADS = 4
ENCODER_WINDOWS = (18, 8)
ENCODER_GLOBAL_BLOCKS = (1, 3, 5)
"""Blocks that attend over the whole picture; the others attend within windows, the largest of
`ENCODER_WINDOWS` that tile the tokens: 18 x 18 at the final side, 8 x 8 while it is trained."""

DECODER_DEPTH = 2
DECODER_HEADS = 8
DECODER_MLP_WIDTH = 512
"""The official decoder has 2048: at seven tokens a prompt it costs a tenth of the decoder's time."""

MULTIMASK_OUTPUTS = 3
MASK_PROMPT_CHANNELS = 16

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


def build(side: int = IMAGE_SIDE) -> Sam:
    """The untrained model in fp32, initialised from torch's global generator.

    `side` is a multiple of 128 or of 288, so that windows tile the tokens without padding; training stays
    below `IMAGE_SIDE`, all that is served has `IMAGE_SIDE`. Raises ValueError for another side.
    """
    tokens = side // PATCH_SIDE
    fitting = [window for window in ENCODER_WINDOWS if side % (window * PATCH_SIDE) == 0]
    if not fitting:
        raise ValueError(f"windows of {ENCODER_WINDOWS} tokens do not tile a side of {side} pixels")
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            patch_size=PATCH_SIDE,
            embed_dim=ENCODER_WIDTH,
            depth=ENCODER_DEPTH,
            num_heads=ENCODER_HEADS,
            mlp_ratio=4.0,
            out_chans=EMBEDDING_CHANNELS,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=fitting[0],
            global_attn_indexes=ENCODER_GLOBAL_BLOCKS,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=EMBEDDING_CHANNELS,
            image_embedding_size=(tokens, tokens),
            input_image_size=(side, side),
            mask_in_chans=MASK_PROMPT_CHANNELS,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=MULTIMASK_OUTPUTS,
            transformer=TwoWayTransformer(
                depth=DECODER_DEPTH,
                embedding_dim=EMBEDDING_CHANNELS,
                num_heads=DECODER_HEADS,
                mlp_dim=DECODER_MLP_WIDTH,
            ),
            transformer_dim=EMBEDDING_CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
