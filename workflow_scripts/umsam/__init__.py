"""UM-SAM: segmentation of medical images learned from Segment Anything, without annotation.

The sub-packages follow the method: ``data``, ``pseudo_labels``, ``training``, ``baselines``,
``evaluation``, ``figures``, and ``pretraining`` for the compact models. Nothing here knows of the
workflow engine: functions take arrays, paths and settings, and return arrays or write files.
"""
