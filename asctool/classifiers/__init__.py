"""The SVM back-ends and Platt's calibration; arrays in, arrays out."""
