"""Volumes and masks on disk: reading, checks, geometry, intensities, phantoms and downloads."""
