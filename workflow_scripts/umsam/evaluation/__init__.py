"""DSC and ASSD of segmentations, precision of the pseudo-label sets, and the paper's tables."""
