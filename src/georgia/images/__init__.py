"""Files become pixels, pixels become network input."""

from georgia.images.decode import (
    MAX_PIXELS,
    Image,
    ImageInfo,
    decode_image,
    image_from_array,
    iter_images,
    read_image,
    read_info,
)
from georgia.images.depth import reduce_depth
from georgia.images.listing import SYSTEM_NAMES, find_images, is_system_name, list_files, natural_key

__all__ = [
    "MAX_PIXELS",
    "SYSTEM_NAMES",
    "Image",
    "ImageInfo",
    "decode_image",
    "find_images",
    "image_from_array",
    "is_system_name",
    "iter_images",
    "list_files",
    "natural_key",
    "read_image",
    "read_info",
    "reduce_depth",
]
