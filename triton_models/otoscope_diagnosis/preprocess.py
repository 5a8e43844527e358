"""The preprocessing of this model: that of both otoscope models, so that one photograph is prepared once for both."""

from triton_models._otoscopy.view import PREPROCESSING_VERSION, SIDE, prepare

__all__ = ["PREPROCESSING_VERSION", "SIDE", "prepare"]
