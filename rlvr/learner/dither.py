"""Rounding float32 to bfloat16 by a threshold of each entry's own, so that changes below bfloat16's steps are kept."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

# Odd constants of a common 32-bit mixer (murmur3's finalizer), as signed numbers: products wrap around.
SPREAD, FIRST, SECOND = (number - 2**32 for number in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35))
LOW = 0xFFFF  # the bits of a float32 that a bfloat16 lacks


def thresholds(name: str, first: int, count: int, device: torch.device) -> Tensor:
    """Return numbers of 0 to 65535, uniform, int32 [N]: those of entries `first` and on of the tensor of that name."""
    seed = zlib.crc32(name.encode())
    mixed = torch.arange(first, first + count, device=device, dtype=torch.int64).to(torch.int32)
    mixed.mul_(SPREAD).add_(seed - 2**31)
    for shift, factor in ((16, FIRST), (13, SECOND)):
        mixed.bitwise_xor_((mixed >> shift).bitwise_and_(2 ** (32 - shift) - 1)).mul_(factor)
    return (mixed >> 16).bitwise_and_(LOW)


def dithered(exact: Tensor, name: str, first: int = 0) -> Tensor:
    """Round float32 of any shape to bfloat16, each entry away from zero where what is cut off exceeds its threshold.

    Over entries the rounded mean is the exact one, however small a change is. An entry's threshold depends on the
    tensor's name and the entry's place alone (`first` is that of the first one), so the result is the same whoever
    rounds, whenever; what bfloat16 holds exactly stays as it is.
    """
    bits = exact.contiguous().view(-1).view(torch.int32)
    up = bits + thresholds(name, first, bits.numel(), exact.device)  # sign and magnitude: adds to the magnitude
    rounded = (up >> 16).to(torch.int16).view(torch.bfloat16).view(exact.shape)
    return torch.where(exact.isfinite(), rounded, exact.to(torch.bfloat16))
