"""From volumes to pseudo-labels (eq. 1-5): SAM's everything mode, shape priors, ROI clustering."""
