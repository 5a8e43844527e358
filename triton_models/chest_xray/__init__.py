"""The model `chest_xray`: pneumonia on frontal chest radiographs; what it is and may be used for is in MODEL.md."""
