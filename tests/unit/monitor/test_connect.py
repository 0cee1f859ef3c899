"""What waits for a store that is away."""

from __future__ import annotations

import itertools

from georgia.monitor.connect import CAPACITY, StoreAwayError, WriteQueue


def test_write_queue_keeps_order_and_backs_off() -> None:
    now, is_away, written, tries = [0.0], [True], [], [0]

    def write(number: int) -> int:
        tries[0] += 1
        if is_away[0]:
            raise StoreAwayError("away")
        return number

    waiting = WriteQueue(lambda: now[0])
    for number in range(3):
        waiting.put(lambda number=number: write(number), written.append)
    assert not waiting.flush()
    moments = []
    while len(moments) < 8:
        now[0] += 0.25
        before = tries[0]
        waiting.flush()
        if tries[0] > before:
            moments.append(now[0])
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert gaps == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    is_away[0] = False
    assert waiting.flush(at_once=True)
    assert written == [0, 1, 2]
    for _ in range(CAPACITY):
        waiting.put(lambda: 0)
    assert waiting.is_full
