"""A recipe file to a typed `Recipe`; everything wrong with it is told as `place: key: value and fix`, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from rlvr.errors import RecipeError
from rlvr.recipe import Recipe, Stage
from rlvr.recipe_checks import check_recipe, check_rewards, one_of
from rlvr.recipe_rewards import Rewards
from rlvr.recipe_section import Section
from rlvr.recipe_yaml import Source, apply_override, read_source

STAGE_KINDS: dict[str, type[Section]] = {
    get_args(section.model_fields["kind"].annotation)[0]: section for section in get_args(get_args(Stage)[0])
}

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys ({} for the defaults)",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "too small, must be at least"),
    "greater_than": ("gt", "too small, must be more than"),
    "less_than_equal": ("le", "too large, must be at most"),
    "less_than": ("lt", "too large, must be less than"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRecipe:
    """A checked recipe beside the text it was read from."""

    recipe: Recipe
    path: Path
    text: str

    def resolved_json(self) -> str:
        """Return the recipe with overrides applied and every default filled in, as JSON."""
        return self.recipe.model_dump_json(indent=2) + "\n"


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read, override (`key.path=value`), type and check a recipe.

    Raises RecipeError (or DataError for a missing problem file) whose message has one self-contained line an error.
    """
    source, text = read_source(path, overrides)
    try:
        recipe = Recipe.model_validate(source.values, strict=True)
    except ValidationError as error:
        raise RecipeError("\n".join(_lines(source, error))) from None
    check_recipe(recipe, source)
    return LoadedRecipe(recipe=recipe, path=path, text=text)


class _RewardsAlone(Section):
    rewards: Rewards


def load_rewards(defaults: Mapping[str, Any], overrides: Sequence[str]) -> Rewards:
    """Type a rewards section without a recipe, from `defaults` and overrides of `rewards.` keys."""
    source = Source(values={"rewards": dict(defaults)}, places={(): "rewards"})
    for override in overrides:
        if not override.strip().startswith("rewards."):
            raise RecipeError(f"override {override!r}: without a recipe only keys of rewards can be set")
        apply_override(source, override)
    try:
        rewards = _RewardsAlone.model_validate(source.values, strict=True).rewards
    except ValidationError as error:
        raise RecipeError("\n".join(_lines(source, error))) from None
    check_rewards(rewards, source, max_tokens=None)
    return rewards


def recipe_keys(section: type[Section] = Recipe, prefix: str = "") -> dict[str, FieldInfo]:
    """Return every recipe key by dotted path; a stage's keys stand under its kind."""
    keys: dict[str, FieldInfo] = {}
    for name, field in section.model_fields.items():
        keys[prefix + name] = field
        inner = _section_of(field)
        if inner is not None:
            keys |= recipe_keys(inner, f"{prefix}{name}.")
    if section is Recipe:
        for kind, stage in STAGE_KINDS.items():
            keys |= recipe_keys(stage, f"stages.{kind}.")
    return keys


def _section_of(field: FieldInfo) -> type[Section] | None:
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _lines(source: Source, error: ValidationError) -> Iterable[str]:
    told: dict[tuple[str, ...], str] = {}
    errors = error.errors(include_url=False)
    typos = {_guess(*_resolve(found["loc"])[::2]) for found in errors if found["type"] == "extra_forbidden"}
    for found in errors:
        keys, field, section = _resolve(found["loc"])
        if found["type"] == "missing" and ".".join(keys) in typos:
            continue  # the misspelt key is reported; that the right one is then missing is no second error
        told.setdefault(keys, f"{source.at(*keys)}: {_message(found, keys, field, section)}")
    return told.values()


def _resolve(location: Sequence[int | str]) -> tuple[tuple[str, ...], FieldInfo | None, type[Section] | None]:
    """Return the recipe keys of a pydantic location, the field there, and the section that holds it."""
    parts = [str(part) for part in location]
    section: type[Section] | None = Recipe
    keys: list[str] = []
    field = None
    if parts[:1] == ["stages"] and len(parts) > 2:  # stages, name, kind (added by the union), key ...
        keys, section, parts = parts[:2], STAGE_KINDS[parts[2]], parts[3:]
    for index, part in enumerate(parts):
        keys.append(part)
        field = section.model_fields.get(part) if section else None
        inner = _section_of(field) if field else None
        if inner is None or index == len(parts) - 1:
            if index < len(parts) - 1:  # a free-form mapping: its key, then union branches that no user wrote
                keys.append(parts[index + 1])
                field = None
            break
        section = inner
    return tuple(keys), field, section


def _message(error: Mapping[str, Any], keys: tuple[str, ...], field: FieldInfo | None, section: Any) -> str:
    kind, value, context = error["type"], _short(error["input"]), error.get("ctx", {})
    meaning = f" ({field.description.rstrip('.')})" if field and field.description else ""
    if kind == "extra_forbidden":
        guess = _guess(keys, section)
        short = guess.rpartition(".")[2] if guess.rpartition(".")[0] == ".".join(keys[:-1]) else guess
        known = ", ".join(section.model_fields)
        return f"unknown key; did you mean {short!r}?" if guess else f"unknown key; the keys here are: {known}"
    if kind == "missing":
        return f"missing{meaning}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        limit = context[bound]
        return f"{value} is {words} {int(limit) if limit == int(limit) else limit}{meaning}"
    if kind in _WANTED and keys[-2:-1] == ("options",):
        return f"{value} must be text, a number, true or false"
    if kind in _WANTED:
        return f"{value} must be {_WANTED[kind]}{meaning}"
    if kind == "union_tag_invalid":
        return f"unknown stage kind {context['tag']!r}; {one_of(context['tag'], STAGE_KINDS)}"
    if kind == "literal_error":
        options = [str(option) for option in _options(field.annotation)] if field else []
        return f"{value} is not an option; {one_of(str(error['input']), options)}{meaning}"
    if kind == "value_error":
        return f"{error['ctx']['error']}{meaning}"
    return f"{value}: {error['msg'][0].lower()}{error['msg'][1:]}{meaning}"


def _options(annotation: Any) -> list[object]:
    """Return the values of a Literal, or of the one in a union with None."""
    literals = [annotation, *get_args(annotation)]
    return [value for one in literals if get_origin(one) is Literal for value in get_args(one)]


def _guess(keys: tuple[str, ...], section: type[Section] | None) -> str:
    """Return the dotted key most likely meant by an unknown one: close in its section, or of that name elsewhere."""
    near = difflib.get_close_matches(keys[-1], section.model_fields if section else [], n=1)
    if near:
        return ".".join((*keys[:-1], near[0]))
    return next((key for key in recipe_keys() if key.rpartition(".")[2] == keys[-1]), "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
