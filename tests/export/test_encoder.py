"""The encoder's graph computes what the official encoder computes."""

from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from export import encoder
from export.encoder import EncoderGraph

HEADS = 2


def small(tokens: int, window: int) -> Sam:
    """The official classes for pictures and windows of so many tokens across, with no zeros among the weights."""
    torch.manual_seed(0)
    vision = ImageEncoderViT(
        img_size=16 * tokens,
        embed_dim=32,
        depth=2,
        num_heads=HEADS,
        out_chans=16,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    )
    for parameter in vision.parameters():
        nn.init.normal_(parameter, std=0.3)
    transformer = TwoWayTransformer(depth=1, embedding_dim=16, num_heads=2, mlp_dim=16)
    prompts = PromptEncoder(
        embed_dim=16, image_embedding_size=(tokens, tokens), input_image_size=(16 * tokens,) * 2, mask_in_chans=16
    )
    return Sam(vision, prompts, MaskDecoder(transformer_dim=16, transformer=transformer)).eval()


@pytest.mark.parametrize(("tokens", "window"), [(8, 4), (10, 4)], ids=["windows that fit", "windows that do not"])
@pytest.mark.parametrize("rows", [0, 3, 99])
def test_the_graph_equals_the_official_encoder(
    monkeypatch: pytest.MonkeyPatch, tokens: int, window: int, rows: int
) -> None:
    monkeypatch.setattr(encoder, "SCORES_AT_ONCE", rows * 4 * HEADS * tokens**3)
    sam = small(tokens, window)
    side = 16 * tokens
    image = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)  # what lies outside is noise too
    size = torch.tensor([[side, side], [side // 2 + 3, side - 5]], dtype=torch.int32)
    with torch.no_grad():
        found = EncoderGraph(sam)(image, size)
        for row, (height, width) in enumerate(size.tolist()):
            picture = image[row : row + 1, :height, :width].permute(0, 3, 1, 2).float()
            wanted = sam.image_encoder(sam.preprocess(picture))
            torch.testing.assert_close(found[row : row + 1], wanted, rtol=1e-4, atol=1e-4)
