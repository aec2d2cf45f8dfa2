"""DSC and ASSD of segmentations, precision of the ROIs, diagnosis, and the paper's tables."""
