"""SAM's everything mode (eq. 1-2): a fast generator, Meta's own, and the loop over a volume."""
