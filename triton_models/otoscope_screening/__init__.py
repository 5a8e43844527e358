"""The model `otoscope_screening`: whether an eardrum photograph shows a trained condition; see MODEL.md."""
