import zlib
from collections.abc import Iterator

import pytest
import torch

from rlvr.rollout.shared_bytes import SharedBytes, SharedReader
from rlvr.rollout.vllm_worker import WeightReceiver

Bucket = tuple[list[tuple[str, str, tuple[int, ...]]], bytes]


class FakeWorker:
    """Stands where vLLM's worker does; keeps what it is told to load."""

    def __init__(self) -> None:
        self.loads: list[dict[str, torch.Tensor]] = []
        self.model = torch.nn.Linear(1, 1)

    def get_model(self) -> torch.nn.Module:
        return self.model

    def reload_weights(self, *, weights_iterator: Iterator[tuple[str, torch.Tensor]]) -> None:
        self.loads.append({name: tensor.clone() for name, tensor in weights_iterator})


class Worker(WeightReceiver, FakeWorker):
    """As `worker_extension_cls` mixes it in."""


def bucket(**tensors: torch.Tensor) -> Bucket:
    manifest = [
        (name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in tensors.items()
    ]
    raw = b"".join(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors.values())
    return manifest, raw


def send(worker: Worker, *buckets: Bucket, version: int = 1) -> int:
    """Send and load; both sides must have the same CRC."""
    shared = SharedBytes()
    sent = shared.write([raw for _, raw in buckets])
    received = worker.rlvr_receive(shared.path, [list(manifest) for manifest, _ in buckets])
    assert received == sent
    worker.rlvr_load(version)
    return received


def test_buckets_are_loaded_together() -> None:
    worker = Worker()
    tensors = {
        "a.weight": torch.randn(3, 4),
        "a.bias": torch.randn(2, 2).to(torch.bfloat16),
        "b.weight": torch.randn(5).to(torch.float16),
    }
    first = bucket(**{name: tensors[name] for name in ("a.weight", "a.bias")})
    second = bucket(**{"b.weight": tensors["b.weight"]})
    assert worker.rlvr_version() == 0
    assert send(worker, first, second, version=7) == zlib.crc32(first[1] + second[1])
    assert worker.rlvr_version() == 7
    (load,) = worker.loads
    assert list(load) == list(tensors)
    for name, tensor in tensors.items():
        assert load[name].dtype == tensor.dtype
        assert torch.equal(load[name], tensor)


def test_a_second_update_starts_afresh() -> None:
    worker = Worker()
    one, two = bucket(w=torch.zeros(3)), bucket(w=torch.ones(3))
    assert [send(worker, one), send(worker, two)] == [zlib.crc32(one[1]), zlib.crc32(two[1])]
    assert [load["w"].tolist() for load in worker.loads] == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("odd", [1, 3, 5])
def test_a_wide_dtype_may_follow_an_odd_number_of_narrow_values(odd: int) -> None:
    worker = Worker()
    narrow, wide = torch.arange(odd).to(torch.bfloat16), torch.randn(2, 3)
    send(worker, bucket(narrow=narrow, wide=wide))
    assert torch.equal(worker.loads[0]["narrow"], narrow)
    assert torch.equal(worker.loads[0]["wide"], wide)


def test_scalars_and_other_bytes() -> None:
    worker = Worker()
    sent = bucket(scale=torch.tensor(2.5))
    crc = send(worker, sent)
    assert worker.loads[0]["scale"].shape == ()
    assert worker.loads[0]["scale"].item() == 2.5
    broken = bytes([sent[1][0] ^ 1]) + sent[1][1:]
    assert send(worker, (sent[0], broken)) != crc


def test_bytes_damaged_on_the_way_are_told_and_nothing_is_loaded_before_it_is_asked_for() -> None:
    worker, shared = Worker(), SharedBytes()
    manifest, raw = bucket(w=torch.arange(5000.0))
    sent = shared.write([raw])
    assert shared.memory is not None
    shared.memory[12345] ^= 4
    assert worker.rlvr_receive(shared.path, [list(manifest)]) != sent
    assert worker.loads == []


def test_shared_memory_is_written_again_where_it_fits_and_grows_where_not() -> None:
    shared, reader = SharedBytes(), SharedReader()
    for parts in ([b"abcd", b"ef"], [b"xy"], [b"0123456789", b"z" * 7]):
        whole = b"".join(parts)
        assert shared.write(parts) == zlib.crc32(whole)
        assert reader.read(shared.path, len(whole))[: len(whole)] == whole


def test_a_later_update_is_what_is_loaded() -> None:
    worker, shared = Worker(), SharedBytes()
    manifest, raw = bucket(w=torch.ones(4))
    shared.write([raw])
    worker.rlvr_receive(shared.path, [list(manifest)])
    worker.rlvr_load(1)
    shared.write([bucket(w=torch.zeros(4))[1]])
    worker.rlvr_receive(shared.path, [list(manifest)])
    worker.rlvr_load(2)
    assert worker.loads[1]["w"].tolist() == [0, 0, 0, 0]
