"""Fixtures of the lab for every test; nothing is built before a test asks for it."""

from hypothesis import settings

from tests.lab.fixtures import capture, docker, inet, lab, ramnet, vm

__all__ = ["capture", "docker", "inet", "lab", "ramnet", "vm"]

# The same examples every time; `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeatable")
