"""Cells of an export: numbers with either decimal sign, units in a header, and what is no value."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from georgia.errors import InputError

# Signs between thousands besides point and comma: blanks of any width, and Switzerland's.
_BLANKS = re.compile(r"(?<=\d)[\u00a0\u202f\u2009' ’](?=\d{3}(?:\D|$))")
_NUMBERS = {
    ".": re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?(?:\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d*)?(?:[eE][+-]?\d+)?"),
}
# "1.234" or "12,345": a fraction of three digits, or thousands.
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}")
_FRACTION = re.compile(r"[+-]?[\d.,]*?([.,])\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([.,])\d{3}(?:\1\d{3})+")
_BRACKETS = re.compile(
    r"^(?P<name>.*?)\s*(?:\[(?P<square>[^\]]*)\]|\((?P<round>[^()]*)\)|\{(?P<curly>[^}]*)\})\s*$"
)
_SLASH = re.compile(r"^(?P<name>.+?)(?:\s+/\s*|\s*/\s+| in )(?P<unit>\S{1,12})$")
_SPELLED = {
    **dict.fromkeys(
        ("°c", "ºc", "degc", "deg c", "deg.c", "deg. c", "celsius", "grad c", "grad celsius", "℃"), "°C"
    ),
    **dict.fromkeys(("°f", "degf", "deg f", "fahrenheit", "℉"), "°F"),
    **dict.fromkeys(("1/min", "min-1", "min^-1", "u/min", "rpm", "upm"), "rpm"),
    **dict.fromkeys(("percent", "pct", "prozent"), "%"),
    "‰": "‰",
    **dict.fromkeys(("-", "–", "1", "none"), ""),
}
_KNOWN = frozenset(
    (
        *(
            "°C",
            "°F",
            "K",
            "rpm",
            "%",
            "bar",
            "mbar",
            "barg",
            "bara",
            "Pa",
            "kPa",
            "MPa",
            "psi",
            "s",
            "min",
            "h",
            "ms",
        ),
        *(
            "d",
            "g",
            "kg",
            "mg",
            "t",
            "L",
            "l",
            "mL",
            "ml",
            "µL",
            "m3",
            "m³",
            "L/h",
            "l/h",
            "L/min",
            "l/min",
            "mL/min",
        ),
        *(
            "ml/min",
            "mL/h",
            "ml/h",
            "g/min",
            "g/h",
            "kg/h",
            "m3/h",
            "m³/h",
            "W",
            "kW",
            "J",
            "kJ",
            "W/K",
            "V",
            "mV",
            "A",
        ),
        *(
            "mA",
            "Hz",
            "kHz",
            "pH",
            "mm",
            "cm",
            "m",
            "µm",
            "um",
            "nm",
            "NTU",
            "FTU",
            "FNU",
            "AU",
            "au",
            "mAU",
            "counts",
        ),
        *(
            "counts/s",
            "Nm",
            "Ncm",
            "N·cm",
            "mol/L",
            "mol/l",
            "mmol/L",
            "g/L",
            "g/l",
            "mg/L",
            "mg/mL",
            "mg/ml",
            "g/100g",
        ),
        *(
            "g/kg",
            "g/g",
            "wt%",
            "wt-%",
            "mol%",
            "vol%",
            "area%",
            "a%",
            "% w/w",
            "%w/w",
            "w/w",
            "ppm",
            "µS/cm",
            "mS/cm",
        ),
        *("K/min", "°C/min", "1/s", "s-1", "cP", "mPas", "mPa·s", "#", "#/s", "S"),
    )
)


@lru_cache(maxsize=65_536)
def parse_number(cell: str, decimal: str) -> float | None:
    """Return the number in a cell with that decimal sign, None where there is none.

    >>> parse_number("1.234,5", ","), parse_number("1,234.5", "."), parse_number("Bad", ".")
    (1234.5, 1234.5, None)
    """
    text = _BLANKS.sub("", cell.strip()).replace("\u2212", "-")
    if not any(sign.isdigit() for sign in text) or not _NUMBERS[decimal].fullmatch(text):
        return None
    if decimal == ",":
        text = text.replace(".", "").replace(",", ".")
    else:
        text = text.replace(",", "")
    value = float(text)
    return value if math.isfinite(value) else None


# A number with its unit behind, and one that lies below or above what could be measured.
_MEASURED = re.compile(r"(?P<number>[+\u2212-]?\d(?:.*\d)?)\s*(?P<unit>[^\W\d].{0,11}|[%°º#℃‰µ].{0,11})")
_CENSORED = re.compile(r"(?:[<>≤≥]=?|&lt;|&gt;)\s*(?P<number>.+)")


def split_measured(cell: str) -> tuple[str, str] | None:
    """Return the number and the unit of a cell that has both, None of one that has not.

    >>> split_measured("12,5 degC"), split_measured("1.5e3"), split_measured("<0.1 %")
    (('12,5', '°C'), None, None)
    """
    if looks_numeric(cell):
        return None
    match = _MEASURED.fullmatch(cell.strip())
    if match is None or not looks_numeric(match["number"]):
        return None
    return match["number"], read_unit(match["unit"])


def is_measured(cell: str) -> bool:
    """Tell whether a cell is a number with a unit that process exports have."""
    parts = split_measured(cell)
    return parts is not None and is_unit(parts[1])


def is_censored(cell: str) -> bool:
    """Tell whether a cell says only that a value lies below or above a number, as <0.1 does."""
    match = _CENSORED.fullmatch(cell.strip())
    return match is not None and (
        looks_numeric(match["number"]) or split_measured(match["number"]) is not None
    )


def looks_numeric(cell: str) -> bool:
    """Tell whether a cell is a number with the one decimal sign or the other."""
    return parse_number(cell, ".") is not None or parse_number(cell, ",") is not None


def tells_no_thousands(cell: str, decimal: str) -> bool:
    """Tell whether a number can be read in one way only, or has no sign but the decimal one."""
    match = _EITHER.fullmatch(_BLANKS.sub("", cell.strip()))
    return match is None or match[1] == decimal


def find_decimal(cells: Iterable[str], delimiter: str) -> str:
    """Return the decimal sign of numbers, by all that have a fraction.

    Raises:
        InputError: both signs are decimal signs, or all numbers may be thousands as well.
    """
    certain: dict[str, str] = {}
    either: dict[str, str] = {}
    for cell in cells:
        text = _BLANKS.sub("", cell.strip())
        match = _FRACTION.fullmatch(text)
        if match is None:
            continue
        sign = match[1]
        if _THOUSANDS.fullmatch(text):
            certain.setdefault({".": ",", ",": "."}[sign], text)
        elif _EITHER.fullmatch(text):
            either.setdefault(sign, text)
        else:
            certain.setdefault(sign, text)
    if len(certain) == 1:
        return next(iter(certain))
    if len(certain) == 2:
        shown = " and ".join(repr(certain[sign]) for sign in (".", ","))
        needs, got = "one decimal sign is needed", shown
    elif not either or (delimiter == "," and set(either) == {"."}):
        return "."
    else:
        needs, got = "the decimal sign cannot be told from thousands", repr(next(iter(either.values())))
    raise InputError("the numbers", needs=needs, got=got, hint="Say decimal=point or decimal=comma.")


def split_unit(header: str, unit_cell: str = "") -> tuple[str, str]:
    """Return the name and the unit of a column's header; ``unit_cell`` is that of a row of units.

    >>> split_unit("T_r [°C]"), split_unit("Tr (degC)"), split_unit("p / mbar"), split_unit("Tr (reactor)")
    (('T_r', '°C'), ('Tr', '°C'), ('p', 'mbar'), ('Tr (reactor)', ''))
    """
    text = clean_name(header)
    if unit_cell.strip():
        return text, read_unit(unit_cell.strip().strip("[](){}"))
    match = _BRACKETS.match(text)
    if match and match["name"]:
        inner = next(part for part in (match["square"], match["curly"], match["round"]) if part is not None)
        if match["round"] is None or is_unit(inner):
            return match["name"].rstrip(" ,_"), read_unit(inner)
    match = _SLASH.match(text)
    if match and is_unit(match["unit"]):
        return match["name"], read_unit(match["unit"])
    return text, ""


def read_unit(text: str) -> str:
    """Return a unit in one spelling: degC, deg C and ºC are °C."""
    plain = clean_name(text)
    return _SPELLED.get(plain.lower(), plain.replace("\u03bc", "µ"))


def is_unit(text: str) -> bool:
    """Tell whether a text is a unit that process exports have, or none ("-")."""
    plain = text.strip().strip("[](){}").strip()
    return not plain or plain.lower() in _SPELLED or read_unit(plain) in _KNOWN


def clean_name(text: str) -> str:
    """Return a name on one line in one Unicode form, at most 120 letters."""
    plain = unicodedata.normalize("NFC", text).replace("\ufeff", "")
    plain = "".join(sign if sign.isprintable() else " " for sign in plain)
    return " ".join(plain.split())[:120]
