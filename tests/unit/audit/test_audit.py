"""Laws of the audit's parts: probes, rules in words, groups, measurements, and the saved result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from georgia.audit import Audit, AuditConfig, run_audit
from georgia.audit.examples import Example, ExampleImage, add, draw_texture, draw_textures
from georgia.audit.groups import connect, join_groups
from georgia.audit.measurements import PROPERTIES, measure_border, measure_file, measure_noise, measure_pixels
from georgia.audit.predictability import (
    cut_bins,
    make_probe_set,
    score_bins,
    score_tree,
    try_each,
    try_together,
)
from georgia.audit.rules import find_exact_rule, find_rule
from georgia.errors import InputError
from georgia.labels import Labels
from georgia.records import Catalog, Record

FAST = AuditConfig(n_permutations=39, alpha=0.05, near_copies=False)
WIDTH = PROPERTIES[0]


def probe_of(labels: np.ndarray, groups: np.ndarray | None = None):  # type: ignore[no-untyped-def,type-arg]
    found = make_probe_set(labels, np.arange(len(labels)) if groups is None else groups, 2, 0)
    assert found is not None
    return found


# Probes


def test_guessing_scores_chance_and_knowing_scores_one() -> None:
    labels = np.arange(200) % 2
    probe = probe_of(labels)
    assert score_bins(np.zeros(200, np.int64), probe) == pytest.approx(0.5)
    assert score_bins(labels, probe) == pytest.approx(1.0)
    assert score_tree(labels[:, None].astype(float), probe) == pytest.approx(1.0)


def test_score_is_balanced_whatever_the_class_sizes() -> None:
    labels = (np.arange(300) < 30).astype(np.int64)
    assert score_bins(np.zeros(300, np.int64), probe_of(labels)) == pytest.approx(0.5)


def test_folds_keep_groups_whole() -> None:
    groups = np.repeat(np.arange(40), 5)
    probe = probe_of(groups % 2, groups)
    assert all(len(set(probe.folds[probe.groups == g])) == 1 for g in range(40))


def test_a_groups_own_mark_tells_nothing_of_other_groups() -> None:
    groups = np.repeat(np.arange(40), 10)
    labels = (groups * 7 % 11 % 2).astype(np.int64)
    assert score_bins(groups, probe_of(labels, groups)) == pytest.approx(0.5)


def test_permutation_keeps_classes_of_groups_and_their_number() -> None:
    groups = np.repeat(np.arange(40), 5)
    probe = probe_of(groups % 2, groups)
    drawn = probe.permute(np.random.default_rng(3))
    assert all(len(set(drawn.labels[groups == g])) == 1 for g in range(40))
    assert np.bincount(drawn.labels).tolist() == np.bincount(probe.labels).tolist()
    assert (drawn.labels != probe.labels).any()


def test_noise_is_rarely_significant_and_never_strong() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(20):
        labels = rng.integers(0, 2, 120)
        probe = probe_of(labels)
        columns = [cut_bins(rng.normal(size=120), probe.groups, False) for _ in range(8)]
        hits += int((try_each(columns, probe, 39, 0)[1] <= 0.05).any())
    # At the level of 5 % one of 20 is expected; five or more have a chance of 0.3 %.
    assert hits < 5


def test_tree_sees_what_two_properties_tell_only_together() -> None:
    rng = np.random.default_rng(0)
    both = rng.integers(0, 2, (400, 2))
    labels = both[:, 0] ^ both[:, 1]
    probe = probe_of(labels)
    assert max(score_bins(column, probe) for column in both.T) < 0.65
    accuracy, p = try_together(both.astype(float), probe, 39, 0, least=0.7)
    assert accuracy > 0.95
    assert p == pytest.approx(1 / 40)


def test_one_group_of_a_class_cannot_be_probed() -> None:
    assert make_probe_set(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3]), 2, 0) is None


# Rules in words


def test_rule_names_value_and_answer() -> None:
    values = np.array([151.0] * 6 + [140.0, 150, 160, 170, 180, 190])
    rule = find_rule(WIDTH, values, np.repeat([0, 1], 6), ("CEX", "PG"))
    assert rule.words == "width = 151 px: CEX, else PG"
    assert rule.score == 1.0


def test_rule_finds_a_threshold_where_no_value_is_shared() -> None:
    values = np.concatenate([np.arange(100.0, 110), np.arange(200.0, 210)])
    rule = find_rule(WIDTH, values, np.repeat([0, 1], 10), ("CEX", "PG"))
    assert rule.words == "width ≤ 154.5 px: CEX, else PG"


def test_rule_of_many_classes_says_another_class() -> None:
    values = np.repeat([10.0, 20.0, 30.0], 5)
    assert find_rule(WIDTH, values, np.repeat([0, 1, 2], 5), ("a", "b", "c")).words.endswith(
        "else another class"
    )


def test_exact_rule_needs_every_file_and_no_other() -> None:
    values, labels = np.array([151.0, 151, 151, 160, 170]), np.array([0, 0, 0, 1, 1])
    assert find_exact_rule(values, labels, np.arange(5), 3) == (151.0, 0)
    assert find_exact_rule(np.array([151.0, 151, 152, 160, 170]), labels, np.arange(5), 3) is None
    assert find_exact_rule(np.array([151.0, 151, 151, 151, 170]), labels, np.arange(5), 3) is None
    assert find_exact_rule(values, labels, np.array([0, 0, 0, 1, 2]), 3) is None


# Measurements


def test_noise_level_is_that_of_the_noise_put_in() -> None:
    rng = np.random.default_rng(1)
    slope = np.add.outer(np.arange(200) * 0.3, np.arange(200) * 0.2) + 60
    noisy = np.clip(np.rint(slope + rng.normal(0, 6, slope.shape)), 0, 255).astype(np.uint8)
    assert measure_noise(noisy) == pytest.approx(6, rel=0.05)


def test_border_is_counted_on_all_sides() -> None:
    picture = draw_texture(1, 40, 50)[..., 0]
    assert measure_border(picture) == 0
    assert measure_border(np.pad(picture, ((3, 1), (2, 0)))) == 6


def test_turning_an_image_changes_no_statistic() -> None:
    image = draw_texture(2, 40, 50)
    turned = measure_pixels(np.rot90(image).copy())
    for name, value in measure_pixels(image).items():
        assert turned[name] == pytest.approx(value, rel=1e-4), name


def test_exif_is_found_and_a_bare_file_has_none(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "P1"
    Image.fromarray(draw_texture(1)).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(draw_texture(1)).save(tmp_path / "b.jpg")
    assert measure_file(tmp_path / "a.jpg")["exif"] == "Make=Acme, Model=P1"
    assert measure_file(tmp_path / "b.jpg")["exif"] == "none"


# Groups


def catalog_of(*records: Record) -> Catalog:
    names = tuple(sorted({record.class_name for record in records}))
    return Catalog(Path("data"), Labels(names), records)


def at(name: str, group: str = "", time: str = "") -> Record:
    return Record(Path("data") / name, name.split("/")[0], group, time=time)


def groups_of(
    catalog: Catalog, config: AuditConfig, copies: list[tuple[int, ...]] | None = None
) -> list[str]:
    return [record.group for record in join_groups(catalog, copies or [], config).records]


def test_links_join_across_sources_and_keep_the_sources_name() -> None:
    catalog = catalog_of(at("a/1"), at("a/2", "x"), at("a/3", "x"), at("b/4"), at("b/5"))
    assert groups_of(catalog, AuditConfig(), [(0, 1)]) == ["x", "x", "x", "", ""]


def test_copies_alone_are_named_after_their_first_file() -> None:
    assert groups_of(catalog_of(at("a/1"), at("a/2"), at("b/3")), AuditConfig(), [(0, 2)]) == [
        "a/1",
        "",
        "a/1",
    ]


def test_regex_groups_by_brackets_and_leaves_others_alone() -> None:
    catalog = catalog_of(at("a/s1_f1"), at("a/s1_f2"), at("a/s2_f1"), at("b/s3_f1"), at("b/x"))
    assert groups_of(catalog, AuditConfig(group_regex=r"s(\d+)_")) == ["a/s1_f1", "a/s1_f1", "", "", ""]


def test_time_gap_joins_what_follows_closely() -> None:
    times = ["2024-01-01T10:00:00", "2024-01-01T10:00:05", "2024-01-01T10:01:00", "2024-01-01T10:01:09"]
    catalog = catalog_of(*(at(f"{'ab'[n % 2]}/{n}", time=time) for n, time in enumerate(times)))
    assert groups_of(catalog, AuditConfig(time_gap_s=10)) == ["a/0", "a/0", "a/2", "a/2"]


def test_folder_level_joins_files_of_one_folder() -> None:
    catalog = catalog_of(at("a/r1/1"), at("a/r1/2"), at("a/r2/3"), at("b/r3/4"), at("b/r4/5"))
    assert groups_of(catalog, AuditConfig(folder_level=1)) == ["a/r1/1", "a/r1/1", "", "", ""]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AuditConfig(group_regex="zzz"), "must match names"),
        (AuditConfig(folder_level=1), "one group with all of a"),
        (AuditConfig(time_gap_s=5), "must hold seconds or ISO 8601"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(config: AuditConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        join_groups(catalog_of(at("a/1"), at("a/2"), at("b/3"), at("b/4")), [], config)


def test_joining_does_not_depend_on_the_order_of_links() -> None:
    links = [(0, 3), (3, 5), (1, 2), (2, 4)]
    assert connect(6, links) == connect(6, links[::-1]) == [[0, 3, 5], [1, 2, 4]]


def test_settings_are_refused_together() -> None:
    with pytest.raises(InputError, match=r"n_permutations must be 1 / alpha or more"):
        AuditConfig(n_permutations=39)
    with pytest.raises(InputError, match=r"time_gap_s must be 0 or more.*group_regex"):
        AuditConfig(time_gap_s=-1, group_regex="(")


# The whole


def test_order_of_files_changes_no_finding(tmp_path: Path) -> None:
    example = add(draw_textures(5), ExampleImage("PG/copy.png", draw_texture(0, 44, 44)[::-1].copy()))
    catalog = example.write(tmp_path)
    turned = replace(catalog, records=catalog.records[::-1])
    first, second = run_audit(catalog, FAST), run_audit(turned, FAST)
    assert {one.check for one in first.findings} == {one.check for one in second.findings}
    assert first.n_groups == second.n_groups == len(catalog.records) - 1


def test_saved_audit_comes_back_the_same(tmp_path: Path) -> None:
    example = add(draw_textures(5), ExampleImage("PG/copy.png", draw_texture(0, 44, 44)[::-1].copy()))
    audit = run_audit(example.write(tmp_path / "data"), replace(FAST, allow=("conflict",)))
    audit.save(tmp_path / "out")
    loaded = Audit.load(tmp_path / "out")
    assert loaded.to_json_dict() == audit.to_json_dict()
    assert loaded.config == audit.config
    assert loaded.pairs == audit.pairs
    assert loaded.catalog.records == audit.catalog.records
    assert list(loaded.columns) == list(audit.columns)


def test_allowed_error_lets_the_gate_pass_and_is_recorded(tmp_path: Path) -> None:
    example = add(draw_textures(5), ExampleImage("PG/copy.png", draw_texture(0, 44, 44)))
    catalog = example.write(tmp_path)
    stopped, passed = run_audit(catalog, FAST), run_audit(catalog, replace(FAST, allow=("conflict",)))
    assert (stopped.gate, stopped.allowed) == ("stop", ())
    assert (passed.gate, passed.allowed) == ("pass", ("conflict",))
    assert "conflict" in passed.verdict


def test_unknown_check_cannot_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'conflict'"):
        run_audit(draw_textures(3).write(tmp_path), replace(FAST, allow=("conflct",)))


def test_size_of_one_class_is_named_with_its_rule(tmp_path: Path) -> None:
    images = [
        ExampleImage(f"{name}/{n}.png", draw_texture(100 * len(name) + n, 44, side))
        for name, sides in (("CEX", [51] * 12), ("PG", [*range(40, 51), 52]))
        for n, side in enumerate(sides)
    ]
    audit = run_audit(Example(tuple(images)).write(tmp_path), FAST)
    finding = next(one for one in audit.findings if one.evidence.get("property") == "width_px")
    assert finding.message.startswith("width = 51 px: CEX, else PG: balanced accuracy ")
    assert finding.severity == "error"
    assert audit.gate == "stop"


def test_nothing_is_found_in_clean_drawn_crops(synthetic_crops: Path) -> None:
    from georgia.catalog.read import read_catalog

    audit = run_audit(read_catalog(synthetic_crops, verify=False), FAST)
    assert audit.findings == ()
    assert audit.gate == "pass"


def test_real_crystals_are_two_crystals_of_pg_told_by_size(shared_data: Path) -> None:
    from georgia.catalog.read import read_catalog

    audit = run_audit(read_catalog(shared_data / "crystals", verify=False))
    copies = next(one for one in audit.findings if one.check == "copies").evidence["groups"]
    numbers = {frozenset(name.split("(")[1].split(")")[0] for name in group) for group in copies}
    assert numbers == {frozenset(("565", "566", "567")), frozenset(("5946", "5947", "5950"))}
    assert any("width = 151 px: CEX, else PG" in one.message for one in audit.findings)
    assert audit.gate == "stop"


# The page


def test_page_shows_copies_side_by_side_with_their_transform(tmp_path: Path) -> None:
    from georgia.report.audit_page import render_audit

    example = add(draw_textures(4), ExampleImage("PG/copy.png", draw_texture(0, 44, 44)[::-1].copy()))
    audit = run_audit(example.write(tmp_path), FAST)
    page = render_audit(audit)
    assert "The gate says stop." in page
    assert "flip top-bottom of 0.png" in page
    # Both findings (copies, conflict) show both images; an image is in the page, not beside it.
    assert page.count('class="frame"') == 4
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http" not in page.replace("http://www.w3.org", "")
    assert str(tmp_path) not in page


def test_figures_return_the_numbers_that_they_draw(tmp_path: Path) -> None:
    from georgia.report.audit_figures import Distribution, draw_distribution, draw_property_power
    from georgia.report.canvas import make_figure

    audit = run_audit(draw_textures(3).write(tmp_path), FAST)
    drawn: dict[str, object] = {}
    cut = float(np.unique(audit.columns["width_px"])[:2].mean())
    make_figure(
        lambda result, axes: drawn.update(draw_distribution(result, axes)) or drawn,
        Distribution(audit, WIDTH, cut),
    )
    assert all(sum(shares) == pytest.approx(1) for shares in drawn["shares"].values())  # type: ignore[attr-defined]
    # Few values are bars; the mark stands between the first and the second.
    assert drawn["mark"] == 0.5
    make_figure(lambda result, axes: drawn.update(draw_property_power(result, axes)) or drawn, audit)
    assert drawn["chance"] == 0.5
    assert len(drawn["properties"]) == len(audit.properties)  # type: ignore[arg-type]
