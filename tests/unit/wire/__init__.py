"""Tests of ``ramnet.wire``."""
