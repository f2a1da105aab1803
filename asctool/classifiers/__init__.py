"""The SVM back-ends and Platt's calibration; arrays in, arrays out.

A module without an underscore is a kernel: ``Config``; ``fit(features, targets, n_classes, config, seed)``
to plain arrays; ``decision(arrays, features)`` to scores (row, class). What uses a kernel by its name is offered here.
"""

from asctool.classifiers import _calibrated as calibrated
from asctool.classifiers import _platt as platt
from asctool.classifiers import _tuning as tuning

__all__ = ["calibrated", "platt", "tuning"]
