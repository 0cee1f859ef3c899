"""A trained net as HDF5 and ONNX files, checked for parity."""

from georgia.export.hdf5 import save_hdf5
from georgia.export.onnx_file import FEATURES, SIGMOID_PAIR, export_onnx
from georgia.export.parity import PARITY_TOLERANCE, Parity, check_parity
from georgia.model.description import METADATA_KEY

__all__ = [
    "FEATURES",
    "METADATA_KEY",
    "PARITY_TOLERANCE",
    "SIGMOID_PAIR",
    "Parity",
    "check_parity",
    "export_onnx",
    "save_hdf5",
]
