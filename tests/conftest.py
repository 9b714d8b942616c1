"""Fixtures of the lab for every test; nothing is built before a test asks for it."""

from tests.lab.fixtures import capture, docker, inet, lab, ramnet, vm

__all__ = ["capture", "docker", "inet", "lab", "ramnet", "vm"]
