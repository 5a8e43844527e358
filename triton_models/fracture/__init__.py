"""The model `fracture`: fractures on radiographs of the upper limb; what it is and may be used for is in MODEL.md."""
