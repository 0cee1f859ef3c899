"""Checks of the classes' sizes: enough groups in each, and none far smaller than another."""

from __future__ import annotations

import numpy as np

from georgia.audit.check import AuditData, Check, Finding, list_names, shorten


class Imbalance(Check):
    """One class has far fewer crystals than another."""

    name = "imbalance"
    severity = "warning"
    rule = "groups of the largest class per groups of the smallest, from"
    threshold = 10.0
    source = "Buda et al. 2018, doi 10.1016/j.neunet.2018.07.011: harm is clear from a ratio of 10 on"
    remedy = (
        "Add images of more crystals of the small class. Rely on its own recall and confidence interval, "
        "not on the accuracy."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding if the classes are out of balance."""
        counts = count_groups(data)
        present = {name: n for name, n in counts.items() if n}
        if len(present) < 2 or max(present.values()) < self.threshold * min(present.values()):
            return []
        few, many = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
        message = f"{shorten(few)} has {counts[few]:,} groups and {shorten(many)} has {counts[many]:,}"
        return [self.found(message, {"groups": counts, "pictures": data.catalog.count_by_class()})]


class TooFewGroups(Check):
    """A class has too few crystals for train, validation and test."""

    name = "too-few-groups"
    severity = "error"
    rule = "groups of a class, below"
    threshold = 3
    source = "one for each of train, validation and test"
    remedy = (
        "Add images of more crystals of that class; near-duplicates and frames of one scene do not count."
    )

    def find(self, data: AuditData) -> list[Finding]:
        """Return one finding with all classes that have too few groups."""
        counts, files = count_groups(data), data.catalog.count_by_class()
        poor = [
            f"{shorten(name, 40)} has {n} (in {files[name]:,} files)"
            for name, n in counts.items()
            if n < self.threshold
        ]
        if not poor:
            return []
        rule = "groups of a class must be 3 or more for train, validation and test"
        message = f"{rule}: {list_names(poor, 5)}"
        return [self.found(message, {"groups": counts, "pictures": files})]


def count_groups(data: AuditData) -> dict[str, int]:
    """Return the number of groups with images of each class, in label order."""
    return {
        name: len(np.unique(data.groups[data.labels == index]))
        for index, name in enumerate(data.catalog.labels.names)
    }
