"""Networks with pretrained weights: SAM and DINO, official and compact."""
