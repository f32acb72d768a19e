"""A search in the words of TAO's AutoML, rewritten on the parsed tree in those of tune_config.

Source of the words: nvidia_tao_automl 7.2.0.
"""

import re
from collections.abc import Iterable, Iterator

from tao_lite.spec.findings import Finding, error, note
from tao_lite.spec.text.syntax import Field, Scalar
from tao_lite.spec.text.tree import Block, drop, find, scalar_text

ALGORITHMS = {
    **dict.fromkeys(("bayesian", "b", "bfbo"), ("TPE", "NONE")),
    **dict.fromkeys(("hyperband", "h", "asha", "hyperband_es", "hes"), ("RANDOM", "HYPERBAND")),
    **dict.fromkeys(("bohb", "dehb", "pbt"), ("TPE", "HYPERBAND")),
}
"""Sampler and pruner for each of TAO's algorithms."""

_LANGUAGE_MODELS = ("llm", "hybrid", "autoresearch")
_METRICS = {
    "TOP1": ("accuracy", "acc", "val_acc", "val_acc_1", "val_accuracy", "validation_accuracy", "top1"),
    "LOSS": ("loss", "val_loss", "validation_loss"),
    "MACRO_F1": ("f1", "macro_f1", "val_macro_f1", "f1_score"),
    "BALANCED_ACCURACY": ("balanced_accuracy", "val_balanced_accuracy"),
    "LATENCY": ("latency", "latency_ms", "inference_time"),
    "BYTES": ("bytes", "model_size", "size", "memory"),
}
_FALLING = ("LOSS", "LATENCY", "BYTES")
_RENAMED = {
    **dict.fromkeys(("automl_max_recommendations", "num_recommendations", "automl_max_trials"), "trials"),
    "automl_reduction_factor": "reduction_factor",
    "automl_min_early_stop_epochs": "min_epochs",
    "run_baseline": "baseline",
}
_DROPPED = {
    "automl_max_epochs": "trials are as long as train_config.n_epochs",
    "epoch_multiplier": "trials are as long as train_config.n_epochs",
    "automl_max_concurrent": "--processes says how many trials run at a time",
    "run_final_evaluation": "every trial is evaluated after each epoch",
    "include_latency": "add LATENCY to objective",
    **dict.fromkeys(("automl_retain_failed_artifacts", "automl_checkpoint_retention_strategy"), "see keep_checkpoints"),
    **dict.fromkeys(
        (
            *("automl_min_top_configs", "automl_population_size", "automl_max_generations", "automl_eval_interval"),
            *("automl_perturbation_factor", "automl_mutation_factor", "automl_crossover_prob", "automl_kde_samples"),
            *("automl_top_n_percent", "automl_min_points_in_model", "automl_early_stop_threshold", "baseline_metric"),
        ),
        "the samplers and pruners here have no such setting",
    ),
}
_IN_PARAMETER = {"name": "field", "parameter": "field", "valid_options": "choice", "option_weights": "weight"}
_CONDITIONS = ("math_cond", "depends_on", "disable_list")
# Factors count in these, so that TAO's even drawing would hardly see small values.
_LOGARITHMIC = ("learning_rate", "lr", "min_learning_rate", "max_learning_rate", "weight_decay")


def convert_search(search: Block) -> Iterator[Finding]:
    """Rewrite the block in place; a note for each conversion, an error for what can't be converted."""
    yield from _settings(search)
    for name in ("automl_algorithm", "algorithm"):
        yield from _algorithm(search, name)
    yield from _metrics(search)
    yield from _named(search)
    for one in list(find(search, "parameter")):
        yield from _parameter(one)


def _settings(search: Block) -> Iterator[Finding]:
    for one in find(search):
        path = f"tune_config.{one.name}"
        if one.name in _RENAMED:
            yield note(one.place, path, f"{one.name} -> {_RENAMED[one.name]}")
            one.name = _RENAMED[one.name]
        elif one.name == "automl_delete_intermediate_ckpt":
            keeps = "false" if scalar_text(one).lower() in ("true", "1") else "true"
            one.name, one.value = "keep_checkpoints", Scalar(keeps, "word")
            yield note(one.place, path, f"automl_delete_intermediate_ckpt -> keep_checkpoints: {keeps}")
        elif one.name in _DROPPED:
            drop(search, one)
            yield note(one.place, path, f"{one.name} -> dropped; {_DROPPED[one.name]}")


def _algorithm(search: Block, name: str) -> Iterator[Finding]:
    for one in find(search, name):
        drop(search, one)
        word, path = scalar_text(one).strip().lower(), f"tune_config.{name}"
        if word in _LANGUAGE_MODELS:
            text = f'found "{word}", which asks a language model; set sampler: TPE and pruner: HYPERBAND in its place'
            yield error(one.value_place, path, text)
        elif word not in ALGORITHMS:
            yield error(one.value_place, path, f'found "{word}", must be one of {", ".join(ALGORITHMS)}')
        else:
            sampler, pruner = ALGORITHMS[word]
            _add(search, one, "sampler", [Scalar(sampler, "word")])
            _add(search, one, "pruner", [Scalar(pruner, "word")])
            yield note(one.place, path, f'{name}: "{word}" -> sampler: {sampler} pruner: {pruner}')


def _metrics(search: Block) -> Iterator[Finding]:
    """`metric` with its `direction`, and `objectives { metric direction weight scale }`."""
    directions = list(find(search, "direction"))
    for one in find(search, "metric"):
        drop(search, one)
        yield from _objective(search, one, one, directions)
    for one in directions:
        drop(search, one)
    for block in find(search, "objectives"):
        drop(search, block)
        for one in find(block, "metric"):
            yield from _objective(search, block, one, list(find(block, "direction")))
        if any(find(block, "weight")) or any(find(block, "scale")):
            text = "weight and scale -> dropped; the trials that none beats in all objectives are reported"
            yield note(block.place, "tune_config.objectives", text)


def _objective(search: Block, place: Field, metric: Field, directions: list[Field]) -> Iterator[Finding]:
    word, path = scalar_text(metric).strip(), f"tune_config.{place.name}"
    plain = re.sub(r"[\s/-]+", "_", word).lower()
    name = next((name for name, words in _METRICS.items() if plain in words), "")
    if not name:
        known = ", ".join(words[0] for words in _METRICS.values())
        yield error(metric.value_place, path, f'found "{word}", must be one of {known}')
        return
    goal = "minimize" if name in _FALLING else "maximize"
    wrong = next((one for one in directions if scalar_text(one).lower()[:3] != goal[:3]), None)
    if wrong:
        yield error(wrong.value_place, path, f'found direction "{scalar_text(wrong)}", but {word} is to {goal}')
        return
    _add(search, place, "objective", [Scalar(name, "word")])
    yield note(place.place, path, f'metric "{word}" -> objective: {name}')


def _named(search: Block) -> Iterator[Finding]:
    """Fields listed by name, and ranges by the fields' names."""
    for one in find(search, "automl_hyperparameters"):
        drop(search, one)
        names = re.findall(r"[\w.]+", scalar_text(one))
        for name in names:
            _of_field(search, one, name)
        yield note(one.place, f"tune_config.{one.name}", f"{one.name} -> parameter {{ field: ... }}")
    for name in ("custom_param_ranges", "automl_range_override"):
        for block in find(search, name):
            drop(search, block)
            for ranges in find(block):
                parameter = _of_field(search, block, ranges.name)
                assert isinstance(parameter.value, list)
                parameter.value += ranges.value if isinstance(ranges.value, list) else []
            yield note(block.place, f"tune_config.{name}", f"{name} -> parameter {{ field: ... range {{ ... }} }}")


def _of_field(search: Block, place: Field, name: str) -> Field:
    """The parameter that moves the field, added where there is none."""
    for parameter in find(search, "parameter"):
        if any(scalar_text(one) == name for one in find(parameter, "field")):
            return parameter
    inner = Field("field", Scalar(name, "string"), place.place, place.place)
    return _add(search, place, "parameter", [[inner]])


def _parameter(parameter: Block) -> Iterator[Finding]:
    path = "tune_config.parameter"
    for one in find(parameter):
        if one.name in _IN_PARAMETER:
            yield note(one.place, f"{path}.{one.name}", f"{one.name} -> {_IN_PARAMETER[one.name]}")
            one.name = _IN_PARAMETER[one.name]
        elif one.name in _CONDITIONS:
            drop(parameter, one)
            yield error(
                one.place, f"{path}.{one.name}", "conditions between values are not searched; list them: choice"
            )
    for one in find(parameter, "choice"):
        # Numbers and words need no quotes: what they have to be is the moved field's to say.
        if isinstance(one.value, Scalar):
            one.value = Scalar(one.value.text, "string")
    bounds = [one for name in ("valid_min", "valid_max") for one in find(parameter, name)]
    if bounds:
        name = next((scalar_text(one) for one in find(parameter, "field")), "")
        low = next((scalar_text(one) for one in bounds if one.name == "valid_min"), "0")
        is_log = name.rpartition(".")[2] in _LOGARITHMIC and bool(re.search("[1-9]", low))
        kind = "log_range" if is_log else "range"
        for one in bounds:
            drop(parameter, one)
            one.name = one.name.removeprefix("valid_")
        _add(parameter, bounds[0], kind, [bounds])
        yield note(bounds[0].place, path, f"valid_min, valid_max -> {kind} {{ min max }}")


def _add(block: Block, place: Field, name: str, values: Iterable[Scalar | list[Field]]) -> Field:
    """A field at the end of the block, as if it stood at the place of another."""
    assert isinstance(block.value, list)
    made = [Field(name, value, place.place, place.value_place) for value in values]
    block.value += made
    return made[-1]
