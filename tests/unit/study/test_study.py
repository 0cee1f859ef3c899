"""Studies: what is planned, how variants are compared, and what the table holds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from georgia.errors import InputError
from georgia.evaluate.score import Evaluation, score_predictions
from georgia.labels import Labels
from georgia.metrics.classification import compute_metrics
from georgia.metrics.paired import adjust_p_values
from georgia.predict.prediction import Prediction
from georgia.predict.predictions import Predictions
from georgia.records import Record
from georgia.study import Study, StudyConfig, plan_runs
from georgia.study.compare import average_f1, compare_variants, list_missed, pool_metrics, summarize_variants
from georgia.study.files import load_study, save_study
from georgia.study.plan import LETTERS, parse_grid
from georgia.study.rows import COLUMNS, StudyRow, load_row, make_failed_row, table_rows
from georgia.study.table import describe_best, format_csv
from georgia.train import RECIPES, recipe_config

LABELS = Labels(("CEX", "PG"))


def _evaluation(wrong: set[int], n: int = 40, group_size: int = 1) -> Evaluation:
    """Return predictions for n files in groups; those numbered in ``wrong`` get the other class."""
    items, records = [], []
    for number in range(n):
        truth = LABELS.names[(number // group_size) % 2]
        other = LABELS.names[1 - LABELS.names.index(truth)]
        label = other if number in wrong else truth
        probabilities = {name: 0.9 if name == label else 0.1 for name in LABELS.names}
        items.append(Prediction(Path(f"{number}.png"), label, 0.9, probabilities))
        records.append(Record(Path(f"{number}.png"), truth, f"g{number // group_size}"))
    return score_predictions(Predictions(LABELS, tuple(items), (), "none"), records)


def _row(variant: str, repeat: int, evaluation: Evaluation) -> StudyRow:
    metrics = evaluation.metrics
    return StudyRow(
        run_name=f"{variant}-{repeat}",
        variant=variant,
        repeat=repeat,
        fold=0,
        settings={"learning_rate": 0.1, "trainable_fraction": 0.1},
        dropout_layers="0.4, 0.3",
        seconds=9785.2,
        train_accuracy=0.5,
        valid_accuracy=0.75,
        test_accuracy=metrics.accuracy,
        test_missed=metrics.n - metrics.n_correct,
        n_test=metrics.n,
        f1=metrics.macro.f1,
        f1_ci95=metrics.macro.f1_ci95,
        epochs=3,
        trainable_layers=34,
    )


def _study(wrong: dict[str, list[set[int]]], group_size: int = 1) -> Study:
    evaluations = {
        f"{name}-{at}": _evaluation(numbers, group_size=group_size)
        for name, runs in wrong.items()
        for at, numbers in enumerate(runs, start=1)
    }
    rows = tuple(
        _row(name, at, evaluations[f"{name}-{at}"])
        for name, runs in wrong.items()
        for at in range(1, len(runs) + 1)
    )
    variants = summarize_variants(rows, evaluations)
    comparisons = compare_variants(variants, rows, evaluations)
    missed = list_missed(rows, evaluations)
    return Study(Path("none"), "synthetic", StudyConfig(), rows, variants, comparisons, missed=missed)


def test_default_is_the_source_study() -> None:
    runs = plan_runs(StudyConfig(recipe="georgia"))
    assert [run.name for run in runs] == [f"{letter}-{repeat}" for letter in "ABCD" for repeat in range(1, 6)]
    settings = {run.variant: (run.config.dropout, run.config.trainable_fraction) for run in runs}
    assert settings == {"A": ((), 0.0), "B": ((), 0.1), "C": ((0.4, 0.3), 0.0), "D": ((0.4, 0.3), 0.1)}
    published = recipe_config("georgia")
    assert next(run.config for run in runs if run.name == "D-1") == published
    assert [run.config.seed for run in runs if run.variant == "B"] == [42, 43, 44, 45, 46]
    # Letters differ in nothing else: a refit would be of A and C only.
    letters = plan_runs(StudyConfig(recipe="fast", variants=tuple(LETTERS), repeats=1))
    assert {run.config.refit for run in (*runs, *letters)} == {"no"}
    assert plan_runs(StudyConfig(variants=("A",)), {"refit": "yes"})[0].config.refit == "yes"


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_recipe_is_a_variant_unchanged(recipe: str) -> None:
    (run,) = plan_runs(StudyConfig(variants=(recipe,), repeats=1))
    assert run.config == recipe_config(recipe)
    letters = tuple(LETTERS) if recipe_config(recipe).head_units else ("A", "B")
    assert len(plan_runs(StudyConfig(recipe=recipe, variants=letters, repeats=1))) == len(letters)


def test_grid_combines_all_values() -> None:
    grid = ("lr=1e-1,1e-2", "backbone=resnet18,resnet50 dropout=none,0.4/0.3")
    runs = plan_runs(StudyConfig(recipe="georgia", grid=grid, repeats=2))
    points = {(run.config.learning_rate, run.config.backbone, run.config.dropout) for run in runs}
    assert points == set(itertools.product((0.1, 0.01), ("resnet18", "resnet50"), ((), (0.4, 0.3))))
    assert len({run.name for run in runs}) == len(runs) == 16
    assert runs[0].variant == "lr=1e-1 backbone=resnet18 dropout=none"
    assert not any(set('/\\:*?"<>| ') & set(run.name) for run in runs)


def test_folds_take_the_recipe_once() -> None:
    assert [run.name for run in plan_runs(StudyConfig(folds=3))] == [f"fast-1-fold{k}" for k in (1, 2, 3)]
    assert len(plan_runs(StudyConfig(variants=("A", "fast"), folds=3, repeats=2))) == 12


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        ({"variants": ("A", "georgai")}, {}, "'georgai' is no variant. Did you mean 'georgia'"),
        ({"variants": ("A", "A")}, {}, "variants must be different"),
        ({"folds": 1}, {}, "folds must be 0, or 2 or more; got 1"),
        ({"grid": ("lr",)}, {}, "key=value"),
        ({"grid": ("learning_rat=1",)}, {}, "Did you mean 'learning_rate'"),
        ({"grid": ("seed=1,2",)}, {}, "'seed' is the same for all runs"),
        ({"grid": ("lr=1,1",)}, {}, "each value of a grid may stand once"),
        ({"grid": ("epochs=many",)}, {}, "'epochs' must be a whole number"),
        ({"variants": ("C",)}, {"dropout": "0.5"}, "'dropout' is what the variants C differ in"),
        ({"grid": ("lr=1,2",)}, {"learning_rate": 1}, "is set and on the grid"),
        ({"recipe": "salami-18", "variants": ("C",)}, {}, "Choose --variants A,B"),
    ],
)
def test_impossible_plan_is_rejected(
    config: dict[str, object], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said.replace("(", "\\(")):
        plan_runs(StudyConfig(**config), changes)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.* is now called:FutureWarning")
def test_grid_keeps_names_of_old_runs() -> None:
    (run,) = plan_runs(StudyConfig(grid=("trainable_share=0.0",), repeats=1))
    assert run.name == "trainable_share=0.0-1"
    assert run.config == recipe_config("fast")
    with pytest.raises(InputError, match="'trainable_share' needs values, in one word"):
        parse_grid(["trainable_fraction=0.1 trainable_share=0.2"])


def test_grid_axes_may_stand_together() -> None:
    together, apart = parse_grid(["lr=1,2 epochs=3"]), parse_grid(["lr=1,2", "epochs=3"])
    assert together == apart == {"learning_rate": ("1", "2"), "epochs": ("3",)}


def test_table_has_columns_of_source_study() -> None:
    study = _study({"A": [{1, 2}], "D": [{1}]})
    assert COLUMNS[:11] == (
        *("run name", "run time", "train acc", "valid acc", "test acc", "acc delta", "test missed"),
        *("epochs", "learning rate", "dropout layers", "trainable layers"),
    )
    first = table_rows(study.rows)[0]
    assert list(first) == list(COLUMNS)
    assert (first["run time"], first["test missed"], first["acc delta"]) == ("2:43:05", 2, 0.25)
    assert (first["test acc"], first["trainable layers"]) == (0.95, "last 10 % (34)")
    lines = format_csv(study.rows).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 3


def test_saved_study_loads_equal(tmp_path: Path) -> None:
    study = _study({"A": [{1, 2}, {3}], "D": [{1}, set()]})
    save_study(study, tmp_path)
    again = load_study(tmp_path)
    assert (again.rows, again.comparisons, again.missed) == (study.rows, study.comparisons, study.missed)
    assert again.variants == study.variants
    table = (tmp_path / "missed.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "variant,run name,file,truth,label,probability"
    assert table[1:3] == ["A,A-1,1.png,PG,CEX,0.900000", "A,A-1,2.png,CEX,PG,0.900000"]
    assert len(table) == 1 + 4
    assert (
        (tmp_path / "study.md")
        .read_text(encoding="utf-8")
        .startswith("# Study of synthetic\n\nBest: D, mean F1 of its runs 0.98")
    )


def test_row_is_kept_with_its_reason(tmp_path: Path) -> None:
    row = _row("A", 1, _evaluation({1}))
    assert load_row(tmp_path) is None
    row.save(tmp_path)
    assert load_row(tmp_path) == row
    old = (tmp_path / "row.json").read_text().replace("trainable_fraction", "trainable_share")
    (tmp_path / "row.json").write_text(old)
    assert load_row(tmp_path) == row
    failed = make_failed_row(plan_runs(StudyConfig(repeats=1))[0], "no\nmemory", 2.0)
    assert (failed.is_done, table_rows([failed])[0]["failed"]) == (False, "no memory")
    (tmp_path / "row.json").write_text("{")
    with pytest.raises(InputError, match="it must be whole"):
        load_row(tmp_path)


def test_variants_are_ranked_by_f1() -> None:
    study = _study({"A": [set(range(20)), set(range(18))], "D": [{1}, set()], "B": [{1, 2}, {3}]})
    assert [variant.variant for variant in study.variants] == ["D", "B", "A"]
    assert [variant.missed for variant in study.variants] == [(1, 0), (2, 1), (20, 18)]
    pairs = {(pair.first, pair.second): pair for pair in study.comparisons}
    assert pairs["D", "A"].is_clear
    assert not pairs["D", "B"].is_clear
    assert pairs["D", "A"].accuracy_difference == pytest.approx(37 / 80)
    assert (pairs["D", "A"].n_better, pairs["D", "A"].n_worse) == (2, 0)


def test_repeats_narrow_no_interval() -> None:
    one, five = ([_evaluation({1, 5, 9})] * n for n in (1, 5))
    single, pooled = pool_metrics(one), pool_metrics(five)
    assert pooled.n == 5 * single.n
    assert pooled.n_groups == single.n_groups
    assert pooled.accuracy_ci95 == pytest.approx(single.accuracy_ci95)
    assert pooled.macro.f1_ci95 == pytest.approx(single.macro.f1_ci95, abs=1e-9)


def test_folds_pool_to_whole_metrics() -> None:
    whole = _evaluation({3, 8, 30}, n=60)
    rows = list(zip(whole.predictions.items, whole.truth, whole.groups, strict=True))
    folds = [
        score_predictions(
            Predictions(LABELS, tuple(item for item, _, _ in rows[k::3]), (), "none"),
            [Record(item.file, true, group) for item, true, group in rows[k::3]],
        )
        for k in range(3)
    ]
    pooled = pool_metrics(folds)
    assert (pooled.n, pooled.n_correct, pooled.n_groups) == (60, 57, whole.metrics.n_groups)
    assert pooled.macro.f1 == pytest.approx(whole.metrics.macro.f1)


def test_group_counts_once_in_paired_test() -> None:
    alone = _study({"A": [set(range(8))], "D": [set()]}).comparisons[0]
    grouped = _study({"A": [set(range(8))], "D": [set()]}, group_size=8).comparisons[0]
    assert (alone.n_groups_better, grouped.n_groups_better) == (8, 1)
    assert alone.p_value < 0.03 < 0.5 < grouped.p_value
    assert grouped.accuracy_difference == alone.accuracy_difference


def test_paired_test_equals_evaluate_against() -> None:
    from georgia.evaluate.compare import compare_evaluations

    own = _study({"A": [{1, 2, 5}], "D": [{2}]}).comparisons[0]
    theirs = compare_evaluations(_evaluation({2}), _evaluation({1, 2, 5}))
    assert (own.first, own.p_value, own.f1_difference_ci95) == ("D", theirs.f1.p_value, theirs.f1.interval)


def test_equal_repeats_change_no_paired_test() -> None:
    once = _study({"A": [{1, 2, 5}], "D": [{2}]}).comparisons[0]
    often = _study({"A": [{1, 2, 5}] * 5, "D": [{2}] * 5}).comparisons[0]
    assert (often.n_groups_better, often.n_groups_worse) == (once.n_groups_better, once.n_groups_worse)
    assert often.p_value == pytest.approx(once.p_value, abs=0.03)
    assert often.f1_difference_ci95 == pytest.approx(once.f1_difference_ci95, abs=0.01)


def test_only_common_repeats_are_compared() -> None:
    study = _study({"A": [{1, 2}, {3}], "D": [{1}]})
    (pair,) = study.comparisons
    assert (pair.n_better, pair.n_worse, pair.n_groups) == (1, 0, 40)


def test_holms_rule_is_between_none_and_bonferroni() -> None:
    values = [0.01, 0.04, 0.03, 0.5]
    adjusted = adjust_p_values(values)
    assert all(own <= new <= min(1.0, 4 * own) for own, new in zip(values, adjusted, strict=True))
    assert adjusted[0] == 0.04
    assert adjust_p_values([]) == []


def test_order_of_runs_changes_no_metric() -> None:
    evaluations = [_evaluation({1, 2}), _evaluation({7}), _evaluation(set())]
    intervals = {pool_metrics(order).macro.f1_ci95 for order in itertools.permutations(evaluations)}
    assert len(intervals) == 1


def test_metrics_of_one_run_are_kept() -> None:
    evaluation = _evaluation({1, 2, 3})
    truth = LABELS.indices(evaluation.truth)
    predicted = LABELS.indices([item.label for item in evaluation.predictions.items])
    expected = compute_metrics(truth, predicted, LABELS, evaluation.groups)
    assert pool_metrics([evaluation]).to_json_dict() == expected.to_json_dict()


def test_opposite_runs_pool_to_no_rank() -> None:
    odd, even = set(range(1, 40, 2)), set(range(0, 40, 2))
    study = _study({"lucky": [odd, even], "steady": [odd - {1}, odd - {1}]})
    assert [variant.variant for variant in study.variants] == ["steady", "lucky"]
    lucky = study.variants[1]
    assert [row.f1 for row in study.rows if row.variant == "lucky"] == [pytest.approx(1 / 3)] * 2
    assert lucky.f1 == pytest.approx(1 / 3)
    assert lucky.pooled["macro"]["f1"] == pytest.approx(0.5)
    (pair,) = study.comparisons
    assert pair.f1_difference == pytest.approx(study.variants[0].f1 - lucky.f1)
    assert pair.f1_difference > 0


def test_mean_f1_lies_among_runs() -> None:
    runs = [_evaluation({1, 2}), _evaluation({7}), _evaluation(set())]
    mean, (low, high) = average_f1(runs)
    assert mean == pytest.approx(sum(run.metrics.macro.f1 for run in runs) / 3)
    assert low < mean < high <= 1
    assert average_f1(runs[:1]) == (runs[0].metrics.macro.f1, runs[0].metrics.macro.f1_ci95)


def test_pooled_classes_stand_in_study() -> None:
    from georgia.report.study import render_study
    from georgia.study.table import TEST_NOTE, describe_best, format_markdown

    study = _study({"A": [{1, 2}, {3}]})
    (variant,) = study.variants
    assert variant.pooled["confusion"] == [[39, 1], [2, 38]]
    assert variant.pooled["per_class"]["PG"]["recall"] == pytest.approx(0.95)
    text = format_markdown(study)
    assert "| PG | 0.96" in text
    assert "| 40 | 2 | 38 | 0 |" in text
    page = render_study(study, describe_best(study.variants, ()), TEST_NOTE, table_rows(study.rows))
    assert "all its runs pooled" in page
    assert "3 of 80 test predictions were not correct" in page
    assert "3.png" in page


def test_gated_runs_stand_in_table(tmp_path: Path) -> None:
    whole = _study({"A": [{1, 2}, {3}], "D": [set(range(30))]})
    rows = tuple(replace(row, gate="All rejected.") if row.run_name == "A-2" else row for row in whole.rows)
    evaluations = {row.run_name: _evaluation({1}) for row in rows}
    study = replace(whole, rows=rows, variants=summarize_variants(rows, evaluations))
    best = {variant.variant: variant for variant in study.variants}["A"]
    assert (best.n_gated, [row.run_name for row in study.gated_rows]) == (1, ["A-2"])
    assert "The quality gate of 1 of its 2 runs failed" in describe_best([best], [])
    assert table_rows(rows)[1]["quality gate"] == "All rejected."
    save_study(study, tmp_path)
    assert load_study(tmp_path).rows == rows
    assert "- A-2: All rejected." in (tmp_path / "study.md").read_text(encoding="utf-8")
    page = (tmp_path / "study.html").read_text(encoding="utf-8").replace("\xa0", " ")
    assert page.index('class="verdict bad"') < page.index("The quality gate of 1 run failed")


def test_gated_runs_decide_exit_code() -> None:
    from georgia.cli.study import _end

    study = _study({"A": [{1}, {3}]})
    gated = [replace(row, gate="All rejected.") for row in study.rows]
    failed = make_failed_row(plan_runs(StudyConfig(repeats=1))[0], "no memory", 2.0)
    assert _end(study) == 0
    assert _end(replace(study, rows=(gated[0], study.rows[1]))) == 3
    assert _end(replace(study, rows=tuple(gated))) == 4
    assert _end(replace(study, rows=(*gated, failed))) == 4
