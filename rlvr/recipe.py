"""The typed recipe: every key, its bounds and its one-sentence meaning. `recipe_file.py` reads the YAML into it.

Nothing here imports torch, vllm, ray or deepspeed, so a recipe is checked before anything heavy starts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rlvr.grpo.presets import AdvantageKind, CorrectionKind, KlEstimator, ReductionKind
from rlvr.recipe_machines import Cluster, Engine, LearnerSection
from rlvr.recipe_rewards import Rewards
from rlvr.recipe_section import Section


class TinyModel(Section):
    """A small Qwen2-architecture model built from scratch, with the tokenizer of the problem family."""

    hidden_size: int = Field(ge=16, le=1024, description="Width of the residual stream.")
    layers: int = Field(ge=1, le=32, description="Transformer layers.")
    heads: int = Field(ge=1, le=32, description="Attention heads, each a multiple of 32 wide.")

    @model_validator(mode="after")
    def _heads_divide(self) -> TinyModel:
        if self.hidden_size % (32 * self.heads):  # vLLM's CPU attention works on heads that are multiples of 32 wide
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 32 x heads ({32 * self.heads})")
        return self


class Model(Section):
    """The model a stage starts from: a folder or hub name, or a tiny one built from scratch."""

    path: str | None = Field(None, description="Local folder or hub name of a causal language model.")
    build: TinyModel | None = Field(None, description="Shape of a tiny model to build instead of loading one.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Model:
        if (self.path is None) == (self.build is None):
            raise ValueError("give exactly one of path and build")
        return self


class ProblemSet(Section):
    """Where problems come from; `train` and `heldout` never overlap."""

    source: Literal["generate", "jsonl", "hub"] = Field(description="Rule-made, a jsonl file, or a hub data set.")
    name: str = Field(description="Problem family, file path, or hub data set name.")
    count: int | None = Field(None, ge=1, description="How many problems to use; all of them when left out.")
    seed: int = Field(0, ge=0, description="Seed of a generated set, or of the choice when count is given.")
    options: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="Options of the family, or columns and split of a file or hub data set."
    )


class Problems(Section):
    """The problems to learn from and the held-out ones to measure on."""

    train: ProblemSet = Field(description="Problems that stages learn from.")
    heldout: ProblemSet = Field(description="Problems only ever evaluated on.")


class ChatFormat(Section):
    """How a problem becomes a prompt."""

    system: str | None = Field(None, description="System message before the question; none when left out.")
    instruction: str = Field("", description="Text appended to every question.")
    template: str | None = Field(None, description="Chat template file to use instead of the tokenizer's own.")


class Sampling(Section):
    """How completions are drawn in training."""

    group_size: int = Field(8, ge=2, le=1024, description="Completions a prompt; a group of one has no baseline.")
    max_tokens: int = Field(ge=1, le=1_048_576, description="Longest completion in tokens.")
    temperature: float = Field(1.0, ge=0.01, le=10, description="Sampling temperature.")


class Evaluation(Section):
    """How held-out accuracy is measured, before and after every training stage, on the way where one asks."""

    samples: int = Field(4, ge=1, le=1024, description="Samples a problem (k of avg@k, pass@k and maj@k).")
    temperature: float = Field(1.0, ge=0, le=10, description="Sampling temperature; 0 is greedy.")
    problems: int | None = Field(None, ge=1, description="How many held-out problems; all when left out.")

    @model_validator(mode="after")
    def _greedy_once(self) -> Evaluation:
        if self.temperature < 0.01 and self.samples > 1:
            raise ValueError(f"temperature {self.temperature} is greedy, so samples {self.samples} must be 1")
        return self


class ColdstartStage(Section):
    """Imitate rule-made traces, a mixture of careful and hasty ones, until a sampled-accuracy probe is reached."""

    kind: Literal["coldstart"]
    steps: int = Field(ge=1, description="Most optimizer steps.")
    batch_size: int = Field(64, ge=1, description="Traces a step.")
    learning_rate: float = Field(gt=0, lt=1, description="Peak learning rate.")
    careful_share: float = Field(0.4, gt=0, le=1, description="Share of traces that think step by step.")
    stop_accuracy: float = Field(0.4, gt=0, lt=1, description="Stop when sampled probe accuracy reaches this.")
    probe_every: int = Field(50, ge=1, description="Steps between probes; each also writes a checkpoint.")
    probe_problems: int = Field(64, ge=1, description="Training problems a probe samples once each.")


class Kl(Section):
    """KL to the reference, the model the stage starts from: a second model, or with LoRA the one without adapters."""

    coefficient: float = Field(gt=0, le=10, description="What a nat of KL costs.")
    estimator: KlEstimator = Field("k3", description="Estimator of the loss; the reward's is always k1.")
    where: Literal["loss", "reward"] = Field("loss", description="Added to the loss, or taken from tokens' returns.")

    @model_validator(mode="after")
    def _reward_is_k1(self) -> Kl:
        if self.where == "reward" and self.estimator != "k1":
            raise ValueError(f"where 'reward' takes estimator k1, not {self.estimator}; set it")
        return self


class Correction(Section):
    """Weights for a sampler that is not quite the old policy: p_old / p_sampler of tokens or completions, bounded."""

    kind: CorrectionKind = Field(description="Bounded or left out where outside; per token, or a geometric mean.")
    low: float = Field(0.0, ge=0, le=1, description="Smallest weight.")
    high: float = Field(2.0, ge=1, le=1000, description="Largest weight.")

    @model_validator(mode="after")
    def _none_has_no_bounds(self) -> Correction:
        if self.kind == "none" and self.model_fields_set & {"low", "high"}:
            raise ValueError("kind 'none' has no bounds; leave low and high out, or choose another kind")
        return self


class GrpoStage(Section):
    """Sample groups, verify, credit, update, push weights; repeat."""

    kind: Literal["grpo"]
    updates: int = Field(ge=1, description="Batches learned from.")
    prompts_per_update: int = Field(32, ge=1, description="Groups of one update.")
    mini_batches: int = Field(1, ge=1, le=1024, description="Optimizer steps a batch is cut into.")
    epochs: int = Field(1, ge=1, le=64, description="Passes over a batch.")
    preset: str = Field("grpo", description="Named composition of ratio, advantage, clip and reduction.")
    advantage: AdvantageKind | None = Field(None, description="Baseline of a group; the preset's if left out.")
    reduction: ReductionKind | None = Field(None, description="What tokens count; the preset's if left out.")
    correction: Correction | None = Field(None, description="Sampler correction; the preset's if left out.")
    kl: Kl | None = Field(None, description="KL to the model the stage starts from; none if left out.")
    entropy: float = Field(0.0, ge=-1, le=1, description="What a nat of a token's entropy is worth in the loss.")
    advantage_clip: float | None = Field(None, gt=0, description="Advantages are held within plus and minus this.")
    truncated: Literal["train", "mask"] = Field(
        "train", description="Whether completions that meet the length limit train, or take no part at all."
    )
    curriculum: bool = Field(False, description="Give every second prompt to problems of middling pass rate.")
    max_staleness: int = Field(
        0, ge=0, le=64, description="Updates that sampling may run ahead of learning; 0 waits for the new weights."
    )
    learning_rate: float = Field(gt=0, lt=1, description="Peak learning rate.")
    warmup_updates: int = Field(5, ge=0, description="Updates over which the learning rate rises from zero.")
    checkpoint_every: int = Field(10, ge=1, description="Updates between checkpoints.")
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints kept, beside the best by held-out accuracy.")
    evaluate_every: int = Field(
        0, ge=0, description="Updates between held-out evaluations on the way; 0 makes none before the stage's end."
    )

    @model_validator(mode="after")
    def _evaluated_are_kept(self) -> GrpoStage:
        if self.evaluate_every % self.checkpoint_every:
            every = self.checkpoint_every
            raise ValueError(f"evaluate_every {self.evaluate_every} must be a multiple of checkpoint_every {every}")
        return self


class TracesStage(Section):
    """Sample the teacher and keep what is verified correct."""

    kind: Literal["traces"]
    teacher: str | None = Field(None, description="Stage whose model is the teacher; the newest model when left out.")
    problems: int = Field(ge=1, description="Training problems to sample.")
    samples: int = Field(1, ge=1, description="Completions a problem.")


class DistillStage(Section):
    """Fine-tune a student on the verified traces of the stage before."""

    kind: Literal["distill"]
    student: Model = Field(description="The model to fine-tune.")
    epochs: int = Field(ge=1, description="Passes over the traces.")
    batch_size: int = Field(64, ge=1, description="Traces a step.")
    learning_rate: float = Field(gt=0, lt=1, description="Peak learning rate; falls to a tenth by a cosine.")
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints.")


class EvalStage(Section):
    """Measure the newest model on the held-out problems (training stages are measured anyway)."""

    kind: Literal["eval"]
    of: str | None = Field(None, description="Stage whose model is measured; the newest when left out.")


class ExportStage(Section):
    """Write one folder that transformers and vLLM load, with a model card."""

    kind: Literal["export"]
    of: str | None = Field(None, description="Stage whose model is exported; the newest when left out.")
    push: str | None = Field(None, description="Hub repository ORG/NAME to upload to; none when left out.")


Stage = Annotated[
    ColdstartStage | GrpoStage | TracesStage | DistillStage | EvalStage | ExportStage, Field(discriminator="kind")
]


class Recipe(Section):
    """A whole run: model, problems, rewards, machines, and the stages in order."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run and its folder.")
    seed: int = Field(0, ge=0, description="Seed of everything random in the run.")
    model: Model = Field(description="The model the first stage starts from.")
    problems: Problems = Field(description="Training and held-out problems.")
    chat: ChatFormat = Field(default_factory=ChatFormat, description="How a problem becomes a prompt.")
    rewards: Rewards = Field(default_factory=Rewards, description="What a verdict is worth.")
    cluster: Cluster = Field(default_factory=Cluster, description="The Ray cluster.")
    engine: Engine = Field(description="Rollout workers.")
    learner: LearnerSection = Field(default_factory=LearnerSection, description="The DeepSpeed learner.")
    sampling: Sampling = Field(description="How completions are drawn in training.")
    eval: Evaluation = Field(default_factory=Evaluation, description="How held-out accuracy is measured.")
    stages: dict[str, Stage] = Field(min_length=1, description="Stages in order; `kind` defaults to the stage's name.")

    @model_validator(mode="before")
    @classmethod
    def _kind_from_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("stages"), dict):
            stages = {
                name: {"kind": name, **stage} if isinstance(stage, dict) else stage
                for name, stage in data["stages"].items()
            }
            return {**data, "stages": stages}
        return data
