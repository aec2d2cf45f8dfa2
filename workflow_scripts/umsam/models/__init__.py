"""Networks that come with weights: SAM and DINO, official and compact."""
