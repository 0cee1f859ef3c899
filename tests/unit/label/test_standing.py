"""Labels that stand: what is taken in name by name is what reading the journal at once gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.helpers.labelling import make_pool, open_session

from georgia.label.records import NEITHER, UNCLEAR
from georgia.label.standing import StandingLabels


def test_taken_in_name_by_name_is_as_read_at_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "crops")
    # Two sets of duplicates, of three and of two, and one item alone.
    sets = (0, 0, 0, 1, 1, -1)
    pool = replace(
        pool, items=tuple(replace(item, duplicates=at) for item, at in zip(pool.items, sets, strict=True))
    )
    rng = np.random.default_rng(3)
    with open_session(pool, tmp_path / "labels.csv") as session:
        standing = StandingLabels(pool, session.journal)
        for _ in range(25):
            at = int(rng.integers(6))
            before = session.journal.names.find(pool.items[at].path)
            name = str(rng.choice(["CEX", "PG", NEITHER, UNCLEAR]))
            session.name(pool.items[at].path, name, "Ann", "a", None if before is None else before.number)
            assert standing.take_in(at) == set(standing.members(at))
            fresh = StandingLabels(pool, session.journal)
            assert (standing.labels, standing.n_left) == (fresh.labels, fresh.n_left)
            assert +standing.counts == +fresh.counts
            assert standing.list_apart() == fresh.list_apart()
            for one in range(6):
                assert standing.find_shown(one) in standing.members(one)
