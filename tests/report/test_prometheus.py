import socket
import urllib.error
import urllib.request

import pytest

from rlvr.errors import RecipeError
from rlvr.report.prometheus import MetricsEndpoint


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def served(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_the_newest_figures_are_served_by_stage_and_engine() -> None:
    port = free_port()
    endpoint = MetricsEndpoint(port)
    try:
        endpoint.log("grpo", 3, {"reward": 0.25, "engine_0_tokens_per_s": 100.0, "engine_12_tokens_per_s": 90.5})
        assert served(port) == {
            'rlvr_reward{stage="grpo"}': 0.25,
            'rlvr_step{stage="grpo"}': 3.0,
            'rlvr_engine_tokens_per_s{engine="0",stage="grpo"}': 100.0,
            'rlvr_engine_tokens_per_s{engine="12",stage="grpo"}': 90.5,
        }
        endpoint.log("grpo", 4, {"reward": 0.5})  # nothing of the step before stays
        assert served(port) == {'rlvr_reward{stage="grpo"}': 0.5, 'rlvr_step{stage="grpo"}': 4.0}
        endpoint.log("distill", 1, {"loss": 2.0, "reward_a-b": 1.0, "reward_a_b": 3.0})
        assert served(port) == {
            'rlvr_step{stage="distill"}': 1.0,
            'rlvr_loss{stage="distill"}': 2.0,
            'rlvr_reward_a_b{stage="distill"}': 3.0,
        }
    finally:
        endpoint.close()
    with pytest.raises(urllib.error.URLError):
        served(port)


def test_a_taken_port_is_told_with_the_fix() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RecipeError, match=rf"cluster.metrics_port: {port} cannot be listened on .*choose another"):
            MetricsEndpoint(port)
