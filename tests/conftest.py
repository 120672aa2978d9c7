"""Puts this folder on the path, so that every package's tests find `fakes`."""

from hypothesis import settings

settings.register_profile("rlvr", deadline=None)
settings.load_profile("rlvr")
