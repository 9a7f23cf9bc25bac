"""Losses between several masks and several targets at once.

Every sum over pixels that pairs an output with a target is a product of matrices, so all pairs
together cost little more than one. Logits are [..., K, N], targets [..., J, N] with cover in 0..1.
The products stay in fp32 (on a GPU in TF32): an area in bf16 is off by up to a 256th, and so would
every IoU be.
"""

import torch
from torch import Tensor
from torch.nn import functional


def _product(left: Tensor, right: Tensor) -> Tensor:
    with torch.autocast(left.device.type, enabled=False):
        return left.float() @ right.float()


BACKGROUND_SHARE = 0.03
"""Part of the picture that is added to an object's area, which bounds the smallest ones' weight."""

ENTROPY_WEIGHT, DICE_WEIGHT = 0.7, 1.4
"""Dice counts twice: it is what comes closest to the IoU that is measured."""


def pair_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """[..., K, J]: cross entropy for each pixel of object, and dice, of each output and target.

    The entropy is divided by the object's own area and a share of the picture, so that small
    objects count for more than their pixels and do not drown the rest.
    """
    columns = targets.transpose(-2, -1)
    area = targets.sum(-1)[..., None, :]
    entropy = functional.softplus(logits).sum(-1, keepdim=True) - _product(logits, columns)
    scaled = entropy / (area + BACKGROUND_SHARE * logits.shape[-1])
    probability = logits.sigmoid()
    overlap = _product(probability, columns)
    dice = 1 - (2 * overlap + 1) / (probability.sum(-1, keepdim=True) + area + 1)
    return ENTROPY_WEIGHT * scaled + DICE_WEIGHT * dice


@torch.no_grad()
def pair_ious(logits: Tensor, targets: Tensor) -> Tensor:
    """[..., K, J] IoU of each mask (logit > 0) and target (cover > 1/2); 0 for two empty ones."""
    found, wanted = (logits > 0).float(), (targets > 0.5).float()
    both = _product(found, wanted.transpose(-2, -1))
    either = found.sum(-1, keepdim=True) + wanted.sum(-1)[..., None, :] - both
    return both / either.clamp(min=1)
