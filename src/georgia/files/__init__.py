"""Files of ours: written whole or not at all, read with one clear line, kept in one cache folder."""

from georgia.files.documents import DAMAGE, check_fields, read_json, read_plain_text, read_table, reading
from georgia.files.locks import OutputLock, hold_folder
from georgia.files.targets import (
    CACHE_VARIABLE,
    check_apart,
    check_new_folder,
    check_outside_data,
    check_target,
    find_cache_folder,
    has_forbidden_sign,
    is_device_name,
    is_path_too_long,
    tell_reason,
)
from georgia.files.writing import (
    allocate,
    atomic_path,
    is_full_disk,
    naming_full_disk,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "CACHE_VARIABLE",
    "DAMAGE",
    "OutputLock",
    "allocate",
    "atomic_path",
    "check_apart",
    "check_fields",
    "check_new_folder",
    "check_outside_data",
    "check_target",
    "find_cache_folder",
    "has_forbidden_sign",
    "hold_folder",
    "is_device_name",
    "is_full_disk",
    "is_path_too_long",
    "naming_full_disk",
    "read_json",
    "read_plain_text",
    "read_table",
    "reading",
    "tell_reason",
    "write_bytes",
    "write_json",
    "write_text",
]
