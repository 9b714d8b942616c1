"""Tests of the pure rooms: no root, no network but loopback."""
