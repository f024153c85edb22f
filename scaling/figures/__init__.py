"""Plots one would print: functions that draw on given Axes and return them, in the style of `scaling.style`.

Sizes are shades of one map, fitted runs are dots, held-out runs are stars, the law is a line, a forecast is a band.
"""
