"""Servers measured beside each other: interleaved rounds, ratios, a report and a README table.

A week's `bench/` says who takes part and what is asked; here is what becomes of the rounds.
"""
