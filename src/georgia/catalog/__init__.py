"""Read labelled images: folders per class, split folders, CSV."""

from georgia.catalog.read import describe_many, read_catalog, relative_name, verify_records

__all__ = ["describe_many", "read_catalog", "relative_name", "verify_records"]
