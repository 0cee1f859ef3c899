"""Rules in plain text: the single question that separates a class best."""

from __future__ import annotations

import numpy as np

from georgia.audit.class_predictability import find_exact_rule, find_rule
from georgia.audit.measurements import PROPERTIES

WIDTH = PROPERTIES[0]


def test_rule_names_value_and_class() -> None:
    values = np.array([151.0] * 6 + [140.0, 150, 160, 170, 180, 190])
    rule = find_rule(WIDTH, values, np.repeat([0, 1], 6), ("CEX", "PG"))
    assert rule.text == "width = 151 px: CEX, else PG"
    assert rule.score == 1.0


def test_rule_without_common_value_is_threshold() -> None:
    values = np.concatenate([np.arange(100.0, 110), np.arange(200.0, 210)])
    rule = find_rule(WIDTH, values, np.repeat([0, 1], 10), ("CEX", "PG"))
    assert rule.text == "width ≤ 154.5 px: CEX, else PG"


def test_rule_of_three_classes_says_another() -> None:
    values = np.repeat([10.0, 20.0, 30.0], 5)
    rule = find_rule(WIDTH, values, np.repeat([0, 1, 2], 5), ("a", "b", "c"))
    assert rule.text.endswith("else another class")


def test_exact_rule_needs_every_file() -> None:
    values, labels = np.array([151.0, 151, 151, 160, 170]), np.array([0, 0, 0, 1, 1])
    assert find_exact_rule(values, labels, np.arange(5), 3) == (151.0, 0)
    assert find_exact_rule(np.array([151.0, 151, 152, 160, 170]), labels, np.arange(5), 3) is None
    assert find_exact_rule(np.array([151.0, 151, 151, 151, 170]), labels, np.arange(5), 3) is None
    assert find_exact_rule(values, labels, np.array([0, 0, 0, 1, 2]), 3) is None
