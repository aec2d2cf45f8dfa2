"""UM-SAM: segmentation of medical images learned from Segment Anything, without annotation.

The sub-packages follow the method: ``data``, ``models``, ``everything_mode``, ``pseudo_labels``,
``refinement``, ``training``, ``baselines``, ``evaluation`` and ``figures``. ``pretraining`` makes
the compact models, and ``planning`` prepares the workflow before any job runs. All other functions
are independent of the workflow engine: they take arrays, paths and settings, and return arrays or
write files.
"""
