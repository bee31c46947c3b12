"""Tests of the engine for machines, with no machine."""
