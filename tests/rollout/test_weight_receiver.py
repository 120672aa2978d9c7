import zlib
from collections.abc import Iterator

import pytest
import torch

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
        self.loads.append(dict(weights_iterator))


class Worker(WeightReceiver, FakeWorker):
    """As `worker_extension_cls` mixes it in."""


def bucket(**tensors: torch.Tensor) -> Bucket:
    manifest = [
        (name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in tensors.items()
    ]
    raw = b"".join(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors.values())
    return manifest, raw


def send(worker: Worker, *buckets: Bucket) -> list[int]:
    return [
        worker.rlvr_receive(list(manifest), raw, index == len(buckets) - 1)
        for index, (manifest, raw) in enumerate(buckets)
    ]


def test_buckets_are_loaded_together_with_the_last() -> None:
    worker = Worker()
    tensors = {
        "a.weight": torch.randn(3, 4),
        "a.bias": torch.randn(2, 2).to(torch.bfloat16),
        "b.weight": torch.randn(5).to(torch.float16),
    }
    first = bucket(**{name: tensors[name] for name in ("a.weight", "a.bias")})
    second = bucket(**{"b.weight": tensors["b.weight"]})
    crcs = send(worker, first, second)
    assert crcs == [zlib.crc32(first[1]), zlib.crc32(first[1] + second[1])]
    (load,) = worker.loads
    assert list(load) == list(tensors)
    for name, tensor in tensors.items():
        assert load[name].dtype == tensor.dtype
        assert torch.equal(load[name], tensor)


def test_a_second_update_starts_afresh() -> None:
    worker = Worker()
    one, two = bucket(w=torch.zeros(3)), bucket(w=torch.ones(3))
    assert [send(worker, one), send(worker, two)] == [[zlib.crc32(one[1])], [zlib.crc32(two[1])]]
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
