"""Read labelled images: folders per class, split folders, CSV."""

from georgia.catalog.read import read_catalog, relative_name, verify_records

__all__ = ["read_catalog", "relative_name", "verify_records"]
