"""What the training minimises: a dense objective for the encoder, SAM's own for the decoder."""

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional

from export.tiny import architecture
from export.tiny.decoding import decode, draw_masks
from export.tiny.encoding import encode
from export.tiny.losses import pair_ious, pair_losses
from export.tiny.samples import CELL, Batch

TERM_WEIGHTS = {"iou": 3.0, "iou2": 1.0, "corrected": 0.7}

DENSE_MAPS = 7
"""Two kinds of border, four sides, object or not."""


class DenseHead(nn.Module):
    """Training's own: reads borders and extents from the embedding, and a mask for any pixel.

    A pixel's mask is the product of what the pixel asks for and what the decoder's own upscaling
    makes of each place, which is how SAM's decoder makes masks too.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = architecture.EMBEDDING_CHANNELS
        self.maps = nn.Conv2d(channels, DENSE_MAPS * CELL * CELL, 1)
        self.ask = nn.Sequential(nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels // 4))

    def forward(self, embedding: Tensor, points: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Maps [B, 7, L, L] and what is asked for at K points, [B, 2 K, 32]: smallest, whole."""
        maps = functional.pixel_shuffle(self.maps(embedding), CELL)
        grid = (points[:, :, None] + 0.5) / side * 2 - 1
        here = functional.grid_sample(embedding.float(), grid, align_corners=False)[..., 0]
        asked: Tensor = self.ask(here.transpose(1, 2))
        return maps, asked.view(len(points), 2 * points.shape[1], -1)


def losses(sam: Sam, head: DenseHead, batch: Batch, *, points: int, boxes: int, correct: bool) -> dict[str, Tensor]:
    """All terms, each one number; the decoder's are left out where no points are asked for."""
    embedding = encode(sam, batch.image, batch.shown)
    terms = dense_losses(sam, head, embedding, batch)
    if points:
        found = decoder_losses(sam, embedding, batch, points=points, boxes=boxes, correct=correct)
        terms |= {name: TERM_WEIGHTS.get(name, 1.0) * term for name, term in found.items()}
    return terms


def dense_losses(sam: Sam, head: DenseHead, embedding: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The dense objective's terms, each one number."""
    maps, asked = head(embedding, batch.points, batch.image.shape[1])
    drawn = draw_masks(sam.mask_decoder, embedding.permute(0, 2, 3, 1), asked).float()
    maps, logits = maps.float(), drawn.view(len(drawn), -1, 2, *drawn.shape[2:])
    pairs = pair_losses(logits.flatten(3), batch.chains.flatten(3))
    real = (batch.chains[:, :, 0].sum((-2, -1)) > 0).float()
    both = (pairs[..., 0, 0] + pairs[..., 1, 2]) / 2
    grouped = (both * real).sum() / real.sum().clamp(min=1)
    edges = functional.binary_cross_entropy_with_logits(maps[:, :2], batch.edges, pos_weight=maps.new_tensor(3.0))
    apart = functional.smooth_l1_loss(maps[:, 2:6], batch.sides, beta=0.05, reduction="none")
    sides = (apart * batch.solid[:, None]).sum() / (4 * batch.solid.sum()).clamp(min=1)
    solid = functional.binary_cross_entropy_with_logits(maps[:, 6], batch.solid)
    return {"grouped": 0.5 * grouped, "edges": 4 * edges, "sides": 2 * sides, "solid": 0.5 * solid}


def embed_prompts(sam: Sam, points: Tensor, labels: Tensor, boxes: Tensor | None) -> Tensor:
    """[N, tokens, 256] for points [N, n, 2], labels [N, n] of 0 and 1, and boxes [N, 4], as SAM embeds them.

    In fp32 always: bfloat16 would move a prompt by more than a pixel.
    """
    encoder = sam.prompt_encoder
    kinds = [embedding.weight for embedding in encoder.point_embeddings]
    with torch.autocast(points.device.type, enabled=False):
        places = encoder.pe_layer.forward_with_coords(points + 0.5, encoder.input_image_size)
        tokens = places + torch.where(labels[..., None] == 1, kinds[1], kinds[0])
        if boxes is None:
            last = encoder.not_a_point_embed.weight.expand(len(points), 1, -1)
        else:
            corners = boxes.view(-1, 2, 2) + 0.5
            last = encoder.pe_layer.forward_with_coords(corners, encoder.input_image_size) + torch.cat(kinds[2:])
        return torch.cat([tokens, last], dim=1)


def first_prompts(sam: Sam, batch: Batch, points: int, boxes: int) -> Tensor:
    """[B, points + boxes, 2, 256], the tokens of each picture's first points and boxes."""
    size = len(batch.image)
    clicks = batch.points[:, :points].flatten(0, 1)[:, None]
    frames = batch.boxes[:, :boxes].flatten(0, 1)
    none = frames.new_zeros(len(frames), 0, 2)
    pointed = embed_prompts(sam, clicks, torch.ones_like(clicks[..., 0]), None)
    framed = embed_prompts(sam, none, none[..., 0], frames)
    return torch.cat([pointed.view(size, points, 2, -1), framed.view(size, boxes, 2, -1)], dim=1)


def asked_masks(batch: Batch, points: int, boxes: int) -> Tensor:
    """[B, points + boxes, 3, L, L], what those prompts may mean: for a box thrice the same."""
    framed = batch.boxed[:, :boxes, None].expand(-1, -1, 3, -1, -1)
    return torch.cat([batch.chains[:, :points], framed], dim=1)


def decoder_losses(
    sam: Sam, embedding: Tensor, batch: Batch, *, points: int, boxes: int, correct: bool
) -> dict[str, Tensor]:
    """The decoder's terms for the first `points` points and `boxes` boxes of each picture.

    With `correct` follows a round as SAM trains it: a click on what is wrong and the mask so far.
    """
    logits, predicted = decode(sam, embedding, first_prompts(sam, batch, points, boxes))
    asked = asked_masks(batch, points, boxes)
    real = (asked[:, :, 0].sum((-2, -1)) > 0).float()
    terms = _round(logits, predicted, asked, real, boxes)
    if correct:
        terms |= _correction(sam, embedding, batch, logits, asked, real, points)
    return terms


def _round(logits: Tensor, predicted: Tensor, asked: Tensor, real: Tensor, boxes: int) -> dict[str, Tensor]:
    """Masks and IoU of the first round. Prompts are the points, then `boxes` boxes.

    Outputs 1 to 3 are the smallest object, the one between and the whole; where there are but two,
    the middle output may be either. Output 0, SAM's answer to clear prompts, is the whole for a
    point, as soon as it comes closer to that than to a part.
    """
    points = logits.shape[1] - boxes
    weight = real / real.sum().clamp(min=1)
    pairs = pair_losses(logits.flatten(3), asked.flatten(3))
    several = (pairs[:, :, 1, 0] + pairs[:, :, 2].amin(dim=2) + pairs[:, :, 3, 2]) / 3
    single = torch.cat([0.3 * pairs[:, :points, 0].amin(dim=2), pairs[:, points:, 0, 0]], dim=1)
    share = torch.ones_like(real)
    share[:, points:] = 0.25  # a box says which object: the three outputs matter less
    reached = pair_ious(logits.flatten(3), asked.flatten(3)).amax(dim=3)
    error = (predicted - reached) ** 2
    return {
        "several": (several * share * weight).sum(),
        "single": (single * weight).sum(),
        "iou": (error.mean(dim=2) * weight).sum(),
    }


def _correction(
    sam: Sam, embedding: Tensor, batch: Batch, logits: Tensor, asked: Tensor, real: Tensor, points: int
) -> dict[str, Tensor]:
    """A second round for all prompts: one more click, where the mask is wrong, and the mask itself."""
    size, count = real.shape
    with torch.no_grad():
        wanted = asked[:, :, 2].flatten(0, 1)
        errors = pair_losses(logits.flatten(3), asked[:, :, 2:].flatten(3))[..., 0]
        errors[:, points:, 1:] = torch.inf  # a box has one answer
        best = errors.argmin(dim=2)[:, :, None, None, None].expand(-1, -1, 1, *logits.shape[-2:])
        shown = logits.gather(2, best).flatten(0, 1)
        clicks, labels = _wrong_places(shown[:, 0], wanted)
    first = batch.points[:, :points].flatten(0, 1)[:, None]
    more = clicks.view(size, count, 1, 2)
    kinds = labels.view(size, count, 1)
    two = torch.cat([first, more[:, :points].flatten(0, 1)], dim=1)
    two_labels = torch.cat([torch.ones_like(first[..., 0]), kinds[:, :points].flatten(0, 1)], dim=1)
    pointed = embed_prompts(sam, two, two_labels, None).view(size, points, 3, -1)
    framed = embed_prompts(
        sam,
        more[:, points:].flatten(0, 1),
        kinds[:, points:].flatten(0, 1),
        batch.boxes[:, : count - points].flatten(0, 1),
    ).view(size, count - points, 3, -1)
    dense = sam.prompt_encoder.mask_downscaling(shown.clamp(-32, 32))
    again, predicted = decode(sam, embedding, torch.cat([pointed, framed], dim=1), dense)
    weight = real / real.sum().clamp(min=1)
    target = asked[:, :, 2:].flatten(3)
    alone = again[:, :, :1].flatten(3)
    loss = pair_losses(alone, target)[:, :, 0, 0]
    reached = pair_ious(alone, target)[:, :, 0, 0]
    return {
        "corrected": (loss * weight).sum(),
        "iou2": ((predicted[:, :, 0] - reached) ** 2 * weight).sum(),
    }


def _wrong_places(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """A random wrong pixel of each mask: [N, 1, 2] x, y in the input and [N, 1] 1 missed, 0 spilt.

    Where nothing is wrong, a pixel of the object.
    """
    rows = logits.shape[-1]
    found, held = logits > 0, wanted > 0.5
    wrong = (found != held).flatten(1)
    chance = torch.where(wrong.any(dim=1, keepdim=True), wrong, held.flatten(1)).float() + 1e-9
    pick = torch.multinomial(chance, 1)
    label = held.flatten(1).gather(1, pick).float()
    place = torch.stack([pick % rows, pick // rows], dim=-1).float() * CELL + CELL / 2
    return place, label
