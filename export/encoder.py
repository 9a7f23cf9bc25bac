"""The image encoder as one graph that takes pixels."""

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn


class EncoderGraph(nn.Module):
    """Pixels → embedding, with the preprocessing inside, so that 1 byte a value travels and not 4.

    Inputs: `image` uint8 [B, S, S, 3], RGB, the picture in the upper left corner; `size` int32 [B, 2], (height, width)
    of the part that holds it. Output: `embedding` float32 [B, E, S/16, S/16].

    The official `Sam.preprocess` pads with zeros *after* normalising, so what lies outside of `size` is set to zero
    here, whatever the canvas holds.
    """

    mean: Tensor
    deviation: Tensor
    places: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder
        self.register_buffer("mean", sam.pixel_mean.reshape(3))
        self.register_buffer("deviation", sam.pixel_std.reshape(3))
        self.register_buffer("places", torch.arange(self.encoder.img_size, dtype=torch.int32))

    def forward(self, image: Tensor, size: Tensor) -> Tensor:
        normal = (image.to(torch.float32) - self.mean) / self.deviation
        rows = self.places.unsqueeze(0) < size[:, :1]
        columns = self.places.unsqueeze(0) < size[:, 1:]
        inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(3)
        embedding: Tensor = self.encoder((normal * inside.to(torch.float32)).permute(0, 3, 1, 2))
        return embedding
