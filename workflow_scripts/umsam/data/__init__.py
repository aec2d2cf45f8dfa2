"""Volumes in and out: sample sheets, images and labels, intensities, phantoms, downloads."""
