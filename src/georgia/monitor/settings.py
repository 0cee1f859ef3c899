"""The settings of a live probe: what is watched, how frames are analysed, when an alarm is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from georgia.config import Config, Rule, above, at_least, between, flatten_config
from georgia.errors import InputError, format_message, mask_credentials
from georgia.model.engines import PrecisionName, check_engine_name
from georgia.monitor.frametime import TimeFrom, compile_pattern, find_zone


class ChartName(StrEnum):
    """The chart that raises the alarm."""

    EWMA = "ewma"
    CUSUM = "cusum"
    P = "p"


class Windows(StrEnum):
    """How many of a frame's windows go through the net: the others are taken in the next frames."""

    ALL = "all"
    HALF = "half"
    THIRD = "third"

    @property
    def n_subsets(self) -> int:
        """Return in how many frames each window has its turn."""
        return {Windows.ALL: 1, Windows.HALF: 2, Windows.THIRD: 3}[self]

    def describe(self) -> str:
        """Return it as a clause says it.

        >>> Windows.HALF.describe()
        'half of the windows of each frame, in turns'
        """
        some = {Windows.ALL: "all windows", Windows.HALF: "half of the windows"}
        return (
            f"{some.get(self, 'a third of the windows')} of each frame{', in turns' * (self.n_subsets > 1)}"
        )


# Where neither a plausible mean nor a limit is given.
PLAUSIBLE_MEAN = 0.05


@dataclass(frozen=True)
class TileConfig(Config):
    """How a frame is cut into windows and what a window must show to be analysed.

    ``tile_px`` 0 takes the scale that the model was trained on. ``overlap`` is the fraction of a window's
    side that its neighbour covers too. ``min_detail`` is the least detail of a window that is not empty.
    Source of 4.6: 1,080 windows of synthetic frames; 78 % of those without crystals lie below, and 4 % of
    those that crystals cover to a fifth or more. A window that has not moved for ``fouled_after`` frames is
    fouling and does not count; 0 counts it, for a slurry that stands still. ``windows`` half or third takes
    every second or third window, in turns: see ``georgia.monitor.window_subsets``.
    """

    tile_px: Annotated[int, Rule("0 (the model's) or 16 and more", lambda px: px == 0 or px >= 16)] = 0
    overlap: Annotated[float, between(0, 0.9)] = 0.25
    min_detail: Annotated[float, at_least(0)] = 4.6
    min_judged: Annotated[int, at_least(1)] = 5
    fouled_after: Annotated[int, at_least(0)] = 5
    windows: Windows = Windows.ALL


@dataclass(frozen=True)
class ChartConfig(Config):
    """Limits of the charts, from a stated in-control period or given by hand.

    ``baseline_frames`` is the length of that period; ``mean`` and ``sigma`` given by hand make it needless.
    ``limit`` is a plain limit on the smoothed fraction that holds besides, during the period too.
    Source: λ and k, Lucas and Saccucci 1990, doi 10.1080/00401706.1990.10484583, and Montgomery,
    Introduction to Statistical Quality Control, 6th ed., ch. 9. L and h are wider than theirs (3 and 5):
    small fractions are skewed and the period is short; chosen for about one false alarm in 1,000 frames by
    benchmarks/alarms.py.

    A batch that begins bad must not be learned as good: limits that were learned at a mean above
    ``plausible_mean`` hold, but are to be confirmed by somebody before "in control" is shown. Without it
    the bound is one half of ``limit``, or else 5 %. Source: a chart whose centre lies nearer to the limit
    than to 0 cannot warn of it, and 5 % is one half of the 10 % of docs/monitor.md. Of 40 synthetic frames
    with the bundled model, the mean of 30 lies at 0.8 ± 0.2 % without PG and at 6.8 ± 0.5 % with 5 % of it:
    such a batch is asked about, and a clean one is not.
    """

    chart: ChartName = ChartName.EWMA
    baseline_frames: Annotated[int, at_least(5)] = 30
    mean: Annotated[float | None, between(0, 1)] = None
    sigma: Annotated[float | None, above(0)] = None
    limit: Annotated[float | None, above(0, 1)] = None
    plausible_mean: Annotated[float | None, above(0, 1)] = None
    ewma_lambda: Annotated[float, above(0, 1)] = 0.2
    ewma_width: Annotated[float, above(0)] = 4.0
    cusum_k: Annotated[float, at_least(0)] = 0.5
    cusum_h: Annotated[float, above(0)] = 9.0
    p_width: Annotated[float, above(0)] = 3.0
    raise_after: Annotated[int, at_least(1)] = 2
    clear_after: Annotated[int, at_least(1)] = 5
    clear_below: Annotated[float, above(0, 1)] = 0.7

    @property
    def most_plausible(self) -> float:
        """Return the largest mean, 0–1, that is learned as in control without a confirmation."""
        if self.plausible_mean is not None:
            return self.plausible_mean
        return PLAUSIBLE_MEAN if self.limit is None else self.limit / 2

    def find_faults(self) -> Iterable[str]:
        """Yield a fault where only one of mean and sigma is given."""
        if (self.mean is None) != (self.sigma is None):
            yield format_message("mean and sigma", "both or none must be given", "one of them")


@dataclass(frozen=True)
class HealthConfig(Config):
    """How soon a monitor that does not work is said to.

    ``heartbeat_s``: time between two signs of life in the store. ``silent_after_s``: a monitor in another
    process whose last one is older is not running. ``hung_after_s``: longest time of one step of the loop, or
    of decoding one frame; one second more is granted for each megapixel, or megabyte, and ten times the
    time that the last frames took.
    ``folder_away_after_s``: how long the folder may fail before that is an outage. ``unreadable_after``: so
    many files in a row that are no frames are an outage. ``frozen_after``: so many files in a row with the
    pixels of the frame before are a frozen camera. ``exit_after_s``: how long the service shows a monitor
    that is dead or hung before it ends, so that a service manager starts it anew.
    Source: chosen, with ``hung_after_s`` beside a measurement: a frame that took the bundled model 1 s of
    CPU was there after 13 s where ten other programs competed for two cores. The others are how long a
    person or a service manager may be left without word; a camera that repeats four frames is no chance, as
    two frames of one scene differ by their noise.
    """

    heartbeat_s: Annotated[float, above(0, 60)] = 1.0
    silent_after_s: Annotated[float, above(0)] = 10.0
    hung_after_s: Annotated[float, above(0)] = 20.0
    folder_away_after_s: Annotated[float, at_least(0)] = 5.0
    unreadable_after: Annotated[int, at_least(1)] = 3
    frozen_after: Annotated[int, at_least(1)] = 3
    exit_after_s: Annotated[float, at_least(0)] = 15.0


class OpcuaPolicy(StrEnum):
    """What an OPC UA client must bring: nothing, or Basic256Sha256 with signed, or encrypted, messages."""

    NONE = "none"
    SIGN = "sign"
    ENCRYPT = "encrypt"


@dataclass(frozen=True)
class OpcuaConfig(Config):
    """Who may read the OPC UA server.

    ``opcua_certificate`` (DER or PEM) and ``opcua_private_key`` (PEM) are the server's; a policy needs both.
    ``opcua_trusted`` is a folder of clients' certificates; without it any client's is taken. ``opcua_users``
    is a file of names and passwords, ``NAME:PASSWORD`` a line; without it no name is asked for.
    """

    opcua_policy: OpcuaPolicy = OpcuaPolicy.NONE
    opcua_certificate: str = ""
    opcua_private_key: str = ""
    opcua_trusted: str = ""
    opcua_users: str = ""

    def find_faults(self) -> Iterable[str]:
        """Yield a fault where a policy lacks what it needs, or a name would cross the network in clear."""
        has_both = bool(self.opcua_certificate and self.opcua_private_key)
        if self.opcua_policy != OpcuaPolicy.NONE and not has_both:
            rule = "opcua_certificate and opcua_private_key are needed with it"
            yield format_message("opcua_policy", rule, f"{self.opcua_policy} without them")
        if self.opcua_policy == OpcuaPolicy.NONE and (self.opcua_users or self.opcua_trusted):
            rule = "sign or encrypt is needed with opcua_users and opcua_trusted"
            yield format_message("opcua_policy", rule, "none")


# "0" was version 0.1's word for it.
_AUTO_THREADS, _MOST_THREADS = ("auto", "0"), 1024
_THREADS = Rule(
    f"auto, or a number from 1 to {_MOST_THREADS}",
    lambda n: str(n) in _AUTO_THREADS or 1 <= int(str(n)) <= _MOST_THREADS,
)
_FOR_EVER = Rule("0 (for ever) or more", lambda days: days >= 0)
# As on the page: control signs of a name pasted from elsewhere would reach terminals, tables and labels.
_NAME = Rule(
    "one line of 120 letters at most, without control signs",
    lambda text: len(text) <= 120 and not any(_is_no_sign(sign) for sign in text),
)
_WEB = Rule("http://… or https://…", lambda address: not address or _is_address(address, "http", "https"))
_OPCUA = Rule("opc.tcp://HOST:PORT/…", lambda address: not address or _is_address(address, "opc.tcp"))


def _is_no_sign(sign: str) -> bool:
    """Tell whether a sign is a control sign, or a byte of a command line that is no UTF-8."""
    return sign < " " or sign == "\x7f" or "\ud800" <= sign <= "\udfff"


def _is_address(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:  # a port above 65535, a bracket that is not closed
        return False


_MAIL = Rule(
    "smtps://HOST, smtp://HOST (STARTTLS) or smtp+plain://HOST",
    lambda address: not address or _is_address(address, "smtps", "smtp", "smtp+plain"),
)
_MQTT = Rule("mqtt://… or mqtts://…", lambda address: not address or _is_address(address, "mqtt", "mqtts"))
_TOPIC = Rule(
    "a topic without +, # and spaces", lambda text: bool(text.strip("/")) and not set(text) & set("+# \t\0")
)


@dataclass(frozen=True)
class MailConfig(Config):
    """Alarms by e-mail.

    ``mail_server``: with the user's name where one is needed, ``smtps://me@mail.plant``. ``mail_to``: one or
    more addresses, with commas. ``mail_password``: a file. ``mail_authority``: a file of certificates (PEM)
    that are trusted instead of the system's.
    """

    mail_server: Annotated[str, _MAIL] = ""
    mail_to: str = ""
    mail_from: str = ""
    mail_password: str = ""
    mail_authority: str = ""

    def find_faults(self) -> Iterable[str]:
        """Yield a fault where an address is missing, or could smuggle in further lines."""
        for name in ("mail_to", "mail_from"):
            value = getattr(self, name)
            if self.mail_server and "@" not in value:
                yield format_message(name, "an e-mail address is needed with mail_server", repr(value))
            if any(sign in value for sign in "\r\n"):
                yield format_message(name, "it must be one line", repr(value))


@dataclass(frozen=True)
class MqttConfig(Config):
    """An MQTT broker; ``mqtt_password`` and ``mqtt_authority`` are files, as those of the mail server."""

    mqtt: Annotated[str, _MQTT] = ""
    mqtt_topic: Annotated[str, _TOPIC] = "georgia"
    mqtt_password: str = ""
    mqtt_authority: str = ""


@dataclass(frozen=True)
class MonitorConfig(Config):
    """The settings of ``[monitor]``; docs/monitor.md explains each.

    ``source`` names the frames' origin in the store: the watched folder's path where it is empty. It stays
    the same when a network folder is mounted elsewhere. ``precision`` is that of the net, where it is shown
    for the model; ``threads`` are the net's: see ``georgia.monitor.thread_choice``. ``limits_from`` is an
    ended batch whose limits are taken, by name or number. Durations are in seconds of a clock that never
    jumps. ``note`` is what the user adds to the record: probe, plant, file of the protocol.
    """

    renamed: ClassVar[Mapping[str, str]] = {"look_s": "poll_interval_s"}

    watch: Path = Path()
    db: str = "georgia-monitor.db"
    source: str = ""
    batch: Annotated[str, _NAME] = ""
    limits_from: str = ""
    operator: Annotated[str, _NAME] = ""
    impurity: str = ""
    engine: str = "auto"
    precision: PrecisionName = "auto"
    threads: Annotated[str, _THREADS] = "auto"
    poll_interval_s: Annotated[float, between(0.05, 3600)] = 1.0
    grace_s: Annotated[float, at_least(0)] = 30.0
    no_frames_s: Annotated[float, above(0)] = 60.0
    time_from: TimeFrom = TimeFrom.FILE
    time_pattern: str = ""
    time_zone: str = "local"
    webhook: Annotated[str, _WEB] = ""
    webhook_key: str = ""
    webhook_link: Annotated[str, _WEB] = ""
    opcua: Annotated[str, _OPCUA] = ""
    anchor: str = ""
    anchor_key: str = ""
    keep_maps_days: Annotated[float, _FOR_EVER] = 0.0
    keep_frames_days: Annotated[float, _FOR_EVER] = 0.0
    note: str = ""
    tiles: TileConfig = TileConfig()
    charts: ChartConfig = ChartConfig()
    health: HealthConfig = HealthConfig()
    opcua_access: OpcuaConfig = OpcuaConfig()
    mail: MailConfig = MailConfig()
    mqtt: MqttConfig = MqttConfig()

    @property
    def n_threads(self) -> int:
        """Return the number of threads of the net; 0 is to be measured."""
        return 0 if str(self.threads) in _AUTO_THREADS else int(str(self.threads))

    def find_faults(self) -> Iterable[str]:
        """Yield what is wrong with the engine's name and with where frame times come from."""
        if self.time_from == TimeFrom.NAME and not self.time_pattern:
            rule = "a pattern such as %Y%m%d_%H%M%S is needed where time_from is name"
            yield format_message("time_pattern", rule, "none")
        checks: list[tuple[Callable[[str], object], str]] = [
            (check_engine_name, self.engine),
            (find_zone, self.time_zone),
        ]
        if self.time_pattern:
            checks.append((compile_pattern, self.time_pattern))
        for check, value in checks:
            try:
                check(value)
            except InputError as error:
                yield str(error)

    def to_json_dict(self) -> dict[str, Any]:
        """Return what the store keeps: all but its own address; passwords of others are hidden."""
        values = {**flatten_config(self), "watch": str(self.watch), "threads": self.n_threads}
        del values["db"]
        return {key: mask_credentials(v) if isinstance(v, str) else v for key, v in values.items()}
