"""Measurements of the weeks, their published results, and the reports made of them."""
