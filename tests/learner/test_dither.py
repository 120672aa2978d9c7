"""Dithered rounding by value: its bits, what it keeps in the mean, what it leaves alone; adapters merged with it."""

from __future__ import annotations

import pytest
import torch
from tiny_policy import write_tiny

from rlvr.learner.dither import dithered, thresholds
from rlvr.learner.peft_lora import CHUNK, add_adapters, merged_parts
from rlvr.learner.policy import Policy, load_policy

CPU = torch.device("cpu")
SMALL = 1e-5  # what a step of AdamW at rate 1e-5 changes a weight by, of a size of 0.02: an 8th of bfloat16's step


def float32(bits: int) -> float:
    return float(torch.tensor(bits - 2**32 if bits >= 2**31 else bits, dtype=torch.int32).view(torch.float32))


def test_thresholds_by_value() -> None:
    # The mixer on paper, in Python's unbounded integers: crc32("w") is 0x1C630B12.
    def mixed(entry: int) -> int:
        found = (entry * 0x9E3779B1 + 0x1C630B12 - 2**31) % 2**32
        found = (found ^ found >> 16) * 0x85EBCA6B % 2**32
        return ((found ^ found >> 13) * 0xC2B2AE35 % 2**32) >> 16

    assert thresholds("w", 0, 1000, CPU).tolist() == [mixed(entry) for entry in range(1000)]
    assert thresholds("w", 700, 300, CPU).tolist() == [mixed(entry) for entry in range(700, 1000)]
    assert thresholds("v", 0, 1000, CPU).tolist() != [mixed(entry) for entry in range(1000)]


def test_thresholds_are_uniform_and_unlike_those_of_their_neighbours() -> None:
    found = thresholds("model.layers.0.mlp.up_proj.weight", 0, 2**18, CPU).double()
    assert float(found.mean()) == pytest.approx(32767.5, abs=4 * 18918 / 512)  # 65536 / sqrt(12) is 18918
    counts = torch.histc(found, bins=64, min=0, max=65536)
    assert float(((counts - 4096) ** 2 / 4096).sum()) < 110  # chi squared of 63 degrees: over 110 once in 5,000
    for distance in (1, 2, 64, 1024):
        pairs = torch.stack([found[:-distance], found[distance:]])
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 4 / 512


@pytest.mark.parametrize("sign", [0, 2**31])
def test_an_entry_is_rounded_away_from_zero_where_its_remainder_exceeds_its_threshold(sign: int) -> None:
    # 1 is 0x3F800000 and bfloat16's next number 0x3F810000; r more than 1 carries where threshold + r reaches 65536.
    drawn = thresholds("w", 0, 4, CPU).tolist()
    for entry, threshold in enumerate(drawn):
        for remainder, wanted in ((0, 1.0), (65535 - threshold, 1.0), (65536 - threshold, 1.0078125)):
            exact = torch.tensor([float32(sign + 0x3F800000 + remainder)])
            assert float(dithered(exact, "w", entry).abs()) == wanted
    assert float(dithered(torch.tensor([float32(sign + 0x3F800000)]), "w")) == (-1.0 if sign else 1.0)


def test_what_bfloat16_holds_stays_and_so_do_infinities_and_nan() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    found = dithered(every.float(), "w")
    assert torch.equal(found[~every.isnan()].view(torch.int16), every[~every.isnan()].view(torch.int16))
    assert bool(found[every.isnan()].isnan().all())
    odd = torch.tensor([0x7F800001, 0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)  # NaN at both ends
    assert bool(dithered(odd, "w").isnan().all())


def test_the_mean_is_kept_where_the_nearest_loses_it() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (0.02 * torch.randn(512, 512, generator=generator)).bfloat16().float()
    delta = SMALL * torch.randn(512, 512, generator=generator).sign()
    kept = projection((weight + delta).bfloat16().float() - weight, delta)
    found = projection(dithered(weight + delta, "w").float() - weight, delta)
    assert kept < 0.5
    assert found == pytest.approx(1.0, abs=0.02)


def projection(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return how much of `wanted` is in `found`: 1 where it is all there."""
    return float((found.double() * wanted.double()).sum() / wanted.double().square().sum())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model", hidden=128)


def adapted(path: str, dtype: torch.dtype, *, steps: int) -> Policy:
    """A policy whose B is what `steps` steps at rate 1e-5 leave of it: that far up or down."""
    policy = load_policy(path, dtype=dtype, gradient_checkpointing=False)
    add_adapters(policy.model, rank=8, alpha=16, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.model.named_parameters():
        if ".lora_B." in name:
            parameter.data = (steps * 1e-5 * torch.randn(parameter.shape, generator=generator).sign()).to(dtype)
    return policy


def merged(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: make() for name, _, make in merged_parts(policy.model)}


def deltas(policy: Policy) -> dict[str, torch.Tensor]:
    named = dict(policy.model.named_parameters())
    pairs = {name: name.replace("lora_A", "lora_B") for name in named if ".lora_A." in name}
    return {
        f"{down.split('.lora_A')[0]}.weight": 2.0 * (named[up].double() @ named[down].double()).detach()
        for down, up in pairs.items()
    }


@pytest.mark.parametrize(("steps", "lost"), [(1, 0.5), (10, 0.2)])
def test_merged_in_bfloat16_a_small_step_is_there(path: str, steps: int, lost: float) -> None:
    policy, base = adapted(path, torch.bfloat16, steps=steps), merged(adapted(path, torch.bfloat16, steps=0))
    wanted, found = deltas(policy), merged(policy)
    assert len(wanted) == 7
    moved = torch.cat([(found[name].double() - base[name].double()).flatten() for name in wanted])
    meant = torch.cat([delta.flatten() for delta in wanted.values()])
    nearest = torch.cat(
        [((base[n].double() + wanted[n]).bfloat16().double() - base[n].double()).flatten() for n in wanted]
    )
    # An entry is off by at most a step of bfloat16 (2**-8 of the weight), with either sign, independently.
    doubt = float((moved - meant).square().mul(meant.square()).sum().sqrt() / meant.square().sum())
    assert projection(moved, meant) == pytest.approx(1.0, abs=4 * doubt)
    assert 4 * doubt < lost
    assert projection(nearest, meant) < 1 - lost


def test_without_effect_merged_weights_are_the_base_and_merging_twice_is_the_same(path: str) -> None:
    base = dict(
        load_policy(path, dtype=torch.bfloat16, gradient_checkpointing=False).model.named_parameters(
            remove_duplicate=False
        )
    )
    for name, tensor in merged(adapted(path, torch.bfloat16, steps=0)).items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, base[name]), name
    one, other = (merged(adapted(path, torch.bfloat16, steps=3)) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_chunks_of_rows_are_rounded_as_the_whole(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = merged(adapted(path, torch.bfloat16, steps=5))
    assert max(tensor.numel() for tensor in whole.values()) <= CHUNK
    monkeypatch.setattr("rlvr.learner.peft_lora.CHUNK", 1000)
    for name, tensor in merged(adapted(path, torch.bfloat16, steps=5)).items():
        difference = (tensor.view(torch.int16).int() - whole[name].view(torch.int16).int()).abs()
        # The product of fewer rows may be summed in another order: a remainder at its threshold then tips over.
        assert int(difference.max()) <= 1
        assert float(difference.float().mean()) < 1e-3


def test_float32_is_not_rounded(path: str) -> None:
    policy, base = adapted(path, torch.float32, steps=1), merged(adapted(path, torch.float32, steps=0))
    wanted = deltas(policy)
    for name, tensor in merged(policy).items():
        if name in wanted:
            torch.testing.assert_close(tensor.double(), base[name].double() + wanted[name], atol=1e-8, rtol=0)
