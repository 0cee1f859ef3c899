"""The settings of the monitor: one flat table, all faults at once."""

from __future__ import annotations

import pytest

from georgia.config import build_config
from georgia.errors import InputError
from georgia.monitor.frametime import TimeFrom
from georgia.monitor.settings import ChartName, MonitorConfig


def test_settings_report_all_faults_at_once() -> None:
    wrong = {"poll_interval_s": 0, "webhook": "ftp://x", "mean": 0.1, "overlap": 1, "time_zone": "Mars/Base"}
    with pytest.raises(InputError) as caught:
        build_config(MonitorConfig, wrong)
    for message in (
        "poll_interval_s must be from 0.05 to 3600; got 0",
        "webhook must be http://… or https://…; got 'ftp://x'",
        "mean and sigma: both or none must be given",
        "overlap must be from 0 to 0.9; got 1",
        "Cannot use time_zone",
    ):
        assert message in str(caught.value)
    with pytest.raises(InputError, match="time_pattern: a pattern such as"):
        MonitorConfig(time_from=TimeFrom.NAME)


@pytest.mark.parametrize("name", ["A\nB", "A\x1b[31m", "x" * 121, "A\tB", "A\x7f", "K\udcfc"])
def test_batch_and_operator_are_names_as_on_the_page(name: str) -> None:
    rule = "must be one line of 120 letters at most, without control signs"
    for key in ("batch", "operator"):
        with pytest.raises(InputError, match=f"{key} {rule}"):
            build_config(MonitorConfig, {key: name})
    assert build_config(MonitorConfig, {"batch": "B-117 ä/2026", "operator": ""}).batch == "B-117 ä/2026"


def test_settings_are_one_flat_table() -> None:
    with pytest.warns(FutureWarning, match="'look_s' is now called 'poll_interval_s'"):
        config = build_config(
            MonitorConfig, {"look_s": "0.5", "chart": "p", "limit": "0.1", "min_judged": "2"}
        )
    assert (config.poll_interval_s, config.charts.chart, config.tiles.min_judged) == (0.5, ChartName.P, 2)
    stored = config.to_json_dict()
    assert (stored["chart"], stored["limit"], stored["min_judged"]) == ("p", 0.1, 2)
    assert "tiles" not in stored
    with pytest.raises(InputError, match="'chart' must be one of ewma, cusum, p; got 'ewna'"):
        build_config(MonitorConfig, {"chart": "ewna"})


def test_password_in_address_is_not_stored() -> None:
    config = MonitorConfig(db="postgresql://me:secret@host/db")
    assert "secret" not in str(config.to_json_dict())
