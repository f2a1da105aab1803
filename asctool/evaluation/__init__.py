"""Metrics, fusion rules, calibration figures; arrays in, frozen values out."""
