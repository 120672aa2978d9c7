from dataclasses import replace

from rlvr.grpo.presets import PRESETS
from rlvr.recipe import Correction, GrpoStage
from rlvr.stages.train import chosen_preset


def stage(**keys: object) -> GrpoStage:
    return GrpoStage(kind="grpo", updates=1, learning_rate=0.1, **keys)


def test_a_stages_preset_is_composed_of_its_keys() -> None:
    assert chosen_preset(stage(preset="dapo")) == PRESETS["dapo"]
    ice_pop = Correction(kind="masked", low=0.5, high=5.0)
    found = chosen_preset(stage(preset="dapo", advantage="mean", reduction="constant_length", correction=ice_pop))
    parts = {"correction": "masked", "correction_low": 0.5, "correction_high": 5.0}
    assert found == replace(PRESETS["dapo"], advantage="mean", reduction="constant_length", **parts)


def test_bounds_of_a_correction_have_defaults() -> None:
    found = chosen_preset(stage(preset="gspo", correction=Correction(kind="sequence_masked")))
    assert found == replace(PRESETS["gspo"], correction="sequence_masked", correction_low=0.0, correction_high=2.0)
