"""Fixtures of the tests that run scripts."""

import logging

import pytest


@pytest.fixture
def logging_as_before():
    """A job takes the root logger over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
