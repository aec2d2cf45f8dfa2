"""Cross-fitted decoders that relabel the training volumes; not in the paper."""
