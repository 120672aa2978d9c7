from dataclasses import replace

from rlvr.grpo.presets import PRESETS, composed


def test_parts_replace_those_of_a_preset_and_none_keeps_them() -> None:
    found = composed("dapo", advantage="mean", reduction=None, correction="masked", correction_low=0.5)
    assert found == replace(PRESETS["dapo"], advantage="mean", correction="masked", correction_low=0.5)
    assert composed("gspo", advantage=None, reduction=None) == PRESETS["gspo"]
