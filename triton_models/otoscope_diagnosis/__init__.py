"""The model `otoscope_diagnosis`: which trained condition an abnormal eardrum photograph shows; see MODEL.md."""
